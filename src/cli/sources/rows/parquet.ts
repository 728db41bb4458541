import * as zlib from "node:zlib"
import {
  asyncBufferFromFile,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from "hyparquet"
import { decompressLz4, decompressLz4Raw } from "hyparquet-compressors"
import { UsageError } from "../../terminal/errors.ts"
import { type Source, SourceError } from "../reading/source.ts"
import { openRows } from "./columns.ts"
import { cellOf, plainSchema } from "./parquet-types.ts"

/** Bound of a row group, which is read as a whole: bytes without compression. */
const MAX_GROUP_BYTES = 1024 ** 3

const COMPRESSORS = {
  GZIP: (bytes: Uint8Array) => new Uint8Array(zlib.gunzipSync(bytes)),
  BROTLI: (bytes: Uint8Array) => new Uint8Array(zlib.brotliDecompressSync(bytes)),
  LZ4: decompressLz4,
  LZ4_RAW: decompressLz4Raw,
  // Since Node 22.15.
  ...("zstdDecompressSync" in zlib && {
    ZSTD: (bytes: Uint8Array) => new Uint8Array(zlib.zstdDecompressSync(bytes)),
  }),
}

const CODECS = ["UNCOMPRESSED", "SNAPPY", ...Object.keys(COMPRESSORS)]

/** `cellOf` reads INT96, which the library always converts. */
const parsers = { timestampFromNanoseconds: (nanos: bigint) => nanos }

/** Reads the rows of a Parquet file, one row group at a time. A position is the number of rows before it. */
export async function openParquet(path: string, options: { map: Record<string, string> }): Promise<Source> {
  const file = await asyncBufferFromFile(path)
  const metadata = await readMetadata(path, file)
  const columns = parquetSchema(metadata).children
  const names = columns.map(({ element }) => element.name)
  const table = openRows(path, names, { map: options.map, hasNulls: true })
  // The library rounds decimals, and an error of one cell ends its row group: it gets a schema without the
  // types that it would convert.
  const plain = { ...metadata, schema: plainSchema(metadata.schema) }
  const total = Math.max(1, Number(metadata.num_rows))
  return {
    share: (position) => Number(position) / total,
    payloadColumns: () => table.payloadColumns,
    async *records() {
      let number = 0
      for (const { num_rows } of metadata.row_groups) {
        const rowEnd = number + Number(num_rows)
        const rows = await parquetReadObjects({
          file,
          metadata: plain,
          rowStart: number,
          rowEnd,
          parsers,
          compressors: COMPRESSORS,
          utf8: false,
          geoparquet: false,
        }).catch((error: Error) => {
          throw new SourceError(`${path} cannot be read behind row ${number}: ${error.message}.`)
        })
        for (const row of rows) {
          number++
          const cells = Object.fromEntries(
            columns.map((column, at) => [names[at], cellOf(column, row[names[at] ?? ""])]),
          )
          yield { ...table.read(cells, `${path}, row ${number}`), position: String(number) }
        }
      }
    },
  }
}

/** @throws {UsageError} the file is no Parquet, or cannot be read by this program */
async function readMetadata(
  path: string,
  file: Awaited<ReturnType<typeof asyncBufferFromFile>>,
): Promise<FileMetaData> {
  const metadata = await parquetMetadataAsync(file, { geoparquet: false }).catch((error: Error) => {
    throw new UsageError(`${path} cannot be read as Parquet: ${error.message.replace(/\.$/, "")}.`)
  })
  const tooLarge = metadata.row_groups.findIndex(({ total_byte_size }) => total_byte_size > MAX_GROUP_BYTES)
  if (tooLarge !== -1)
    throw new UsageError(
      `${path}: row group ${tooLarge + 1} is larger than 1 GiB. Write the file again with smaller row groups.`,
    )
  const codec = metadata.row_groups
    .flatMap(({ columns }) => columns.map(({ meta_data }) => meta_data?.codec ?? "UNCOMPRESSED"))
    .find((name) => !CODECS.includes(name))
  if (codec !== undefined)
    throw new UsageError(
      `${path} is compressed with ${codec}, which is not read. Write the file again with one of: ${CODECS.join(", ")}.`,
    )
  const nested = metadata.schema.slice(1).find(({ name }) => name === "__proto__")
  if (nested) throw new UsageError(`${path} has a column named "__proto__", which cannot be read. Rename it.`)
  return metadata
}
