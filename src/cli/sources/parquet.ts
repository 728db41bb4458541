import * as zlib from "node:zlib"
import {
  asyncBufferFromFile,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from "hyparquet"
import { UsageError } from "../usage.ts"
import { checkColumns, signalOfRow } from "./columns.ts"
import { isExport, readExportedRow } from "./exported.ts"
import { readJsonLine, unlessTooDeep } from "./jsonl.ts"
import { type Source, SourceError } from "./source.ts"

/** Bound of a row group, which is read as a whole: bytes without compression. */
const MAX_GROUP_BYTES = 1024 ** 3

/** Strict, so that no byte is replaced; a byte order mark is a character of the text. */
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const parsers = {
  timestampFromMilliseconds: (millis: bigint) => instantOf(millis * 1000n),
  timestampFromMicroseconds: (micros: bigint) => instantOf(micros),
  timestampFromNanoseconds: (nanos: bigint) => instantOf(nanos / 1000n),
  dateFromDays: (days: number) => instantOf(BigInt(days) * 86_400_000_000n),
  stringFromBytes: (bytes: Uint8Array | undefined) => bytes && utf8.decode(bytes),
  // As text, since `JSON.parse` would round numbers.
  jsonFromBytes: (bytes: Uint8Array | undefined) => bytes && utf8.decode(bytes),
}

const compressors = {
  GZIP: (bytes: Uint8Array) => new Uint8Array(zlib.gunzipSync(bytes)),
  BROTLI: (bytes: Uint8Array) => new Uint8Array(zlib.brotliDecompressSync(bytes)),
  // Since Node 22.15.
  ...("zstdDecompressSync" in zlib && {
    ZSTD: (bytes: Uint8Array) => new Uint8Array(zlib.zstdDecompressSync(bytes)),
  }),
}

/** Reads the rows of a Parquet file, one row group at a time. A position is the number of rows before it. */
export async function openParquet(path: string, options: { map: Record<string, string> }): Promise<Source> {
  const file = await asyncBufferFromFile(path)
  const metadata = await readMetadata(path, file)
  const columns = parquetSchema(metadata).children.map(({ element }) => element.name)
  const exported = isExport(columns) && Object.keys(options.map).length === 0
  if (!exported) checkColumns(path, columns, options.map)
  const readPayload = (cell: unknown) =>
    typeof cell === "string" ? (readJsonLine(cell)?.json ?? cell) : cell
  const rowOptions = { map: options.map, readPayload, hasNulls: true }
  const total = Math.max(1, Number(metadata.num_rows))
  return {
    share: (position) => Number(position) / total,
    async *records(from) {
      let number = 0
      for (const { num_rows } of metadata.row_groups) {
        const rowStart = number
        const rowEnd = rowStart + Number(num_rows)
        if (rowEnd <= Number(from ?? 0)) {
          number = rowEnd
          continue
        }
        const read = parquetReadObjects({ file, metadata, rowStart, rowEnd, parsers, compressors })
        const rows = await read.catch((error: Error) => {
          throw new SourceError(`${path} cannot be read behind row ${rowStart}: ${error.message}.`)
        })
        for (const row of rows) {
          number++
          if (number <= Number(from ?? 0)) continue
          const place = `${path}, row ${number}`
          const cells = Object.fromEntries(Object.entries(row).map(([name, cell]) => [name, plain(cell)]))
          const record = exported
            ? readExportedRow(cells, place, rowOptions)
            : { place, signal: signalOfRow(cells, rowOptions) }
          yield { ...unlessTooDeep(record), position: String(number) }
        }
      }
    },
  }
}

async function readMetadata(
  path: string,
  file: Awaited<ReturnType<typeof asyncBufferFromFile>>,
): Promise<FileMetaData> {
  const metadata = await parquetMetadataAsync(file).catch((error: Error) => {
    throw new UsageError(`${path} cannot be read as Parquet: ${error.message}.`)
  })
  const tooLarge = metadata.row_groups.findIndex(({ total_byte_size }) => total_byte_size > MAX_GROUP_BYTES)
  if (tooLarge !== -1)
    throw new UsageError(
      `${path}: row group ${tooLarge + 1} is larger than 1 GiB. Write the file again with smaller row groups.`,
    )
  return metadata
}

/** Microseconds since the epoch as ISO 8601. */
function instantOf(micros: bigint): string {
  const millis = micros / 1000n - (micros % 1000n < 0n ? 1n : 0n)
  return new Date(Number(millis))
    .toISOString()
    .replace("Z", `${String(micros - millis * 1000n).padStart(3, "0")}Z`)
}

/** A value as JSON can have it. A whole number beyond 2^53 becomes text, which loses no digit. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
  if (Array.isArray(value)) return value.map(plain)
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64")
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, plain(item)]))
  return value
}
