import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { parse } from "csv-parse"
import { CSV_HEADER } from "../../signals/lines.ts"
import { openBytes, peek, shareOfBytes } from "./bytes.ts"
import { checkColumns, signalOfRow } from "./columns.ts"
import { readExportedRow } from "./exported.ts"
import { readJsonLine, unlessTooDeep } from "./jsonl.ts"
import { keptBytes, keptLine } from "./kept.ts"
import { textOf } from "./lines.ts"
import { type Source, SourceError, type SourceRecord } from "./source.ts"

/** Bound of a row: an unclosed quotation mark would make the rest of the file one row. */
const MAX_ROW_BYTES = 16 * 1024 * 1024

interface Row {
  record: Record<string, string | null>
  raw: string
  info: { lines: number; bytes: number; error?: { message: string } }
}

/**
 * Reads rows of a table with a header (RFC 4180). A position is the number of rows and of bytes before it.
 */
export function openCsv(path: string, options: { map: Record<string, string>; delimiter: string }): Source {
  const share = shareOfBytes(path)
  const readPayload = (cell: unknown) => readJsonLine(String(cell))?.json ?? cell
  const rowOptions = { map: options.map, readPayload, hasNulls: false }
  return {
    share: share && ((position) => share(Number(position.split(":")[1]))),
    async *records(from) {
      const rowsBefore = Number((from ?? "0").split(":")[0])
      let number = 0
      const { start, whole } = await peek(withoutMark(openBytes(path)), CSV_HEADER.length)
      const exported =
        Object.keys(options.map).length === 0 && start.toString("latin1").startsWith(CSV_HEADER)
      for await (const { record, raw, info } of rowsOf(whole, { path, ...options, exported })) {
        number++
        if (number <= rowsBefore) continue
        const place = `${path}:${info.lines}`
        const position = `${number}:${info.bytes}`
        yield { ...readRow(record, raw, { place, exported, error: info.error?.message }), position }
      }
    },
  }

  function readRow(
    record: Row["record"],
    raw: string,
    { place, exported, error }: { place: string; exported: boolean; error: string | undefined },
  ): SourceRecord {
    const bytes = Buffer.from(raw, "latin1")
    const text = isAscii(raw) ? raw : textOf(bytes)
    if (text === undefined) return { place, error: "The row is not UTF-8", kept: keptBytes(bytes) }
    if (error !== undefined) return { place, error, kept: keptLine(text.trimEnd()) }
    const cells =
      text === raw
        ? record
        : Object.fromEntries(Object.entries(record).map(([name, cell]) => [name, cell && utf8(cell)]))
    const read = exported
      ? readExportedRow(cells, place, { ...rowOptions, hasNulls: true })
      : { place, signal: signalOfRow(cells, rowOptions) }
    return unlessTooDeep(read, keptLine(text.trimEnd()))
  }
}

/**
 * Reads cells as latin1, one character for each byte, so that bytes that are not UTF-8 fail only their row.
 */
async function* rowsOf(
  bytes: AsyncIterable<Buffer>,
  {
    path,
    map,
    delimiter,
    exported,
  }: { path: string; map: Record<string, string>; delimiter: string; exported: boolean },
): AsyncGenerator<Row> {
  const parser = parse({
    columns: (header: string[]) => {
      const names = header.map((name) => textOf(Buffer.from(name, "latin1")) ?? name)
      if (!exported) checkColumns(path, names, map)
      return names
    },
    encoding: "latin1",
    delimiter: Buffer.from(delimiter),
    skip_empty_lines: true,
    info: true,
    raw: true,
    relax_column_count: true,
    relax_quotes: true,
    max_record_size: MAX_ROW_BYTES,
    // Costs time for each cell.
    ...(exported && { cast: nullOfCell }),
  })
  // The loop over `parser` throws the same error.
  pipeline(Readable.from(bytes), parser).catch(() => {})
  try {
    for await (const row of parser) yield row as Row
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code?.startsWith("CSV_"))
      throw new SourceError(`${path} cannot be read as CSV: ${message}. Correct the file.`)
    throw error
  }
}

/** An export distinguishes null from an empty text, which stands in quotation marks. */
const nullOfCell = (cell: string, { quoting, header }: { quoting: boolean; header: boolean }) =>
  cell === "" && !quoting && !header ? null : cell

async function* withoutMark(bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const { start, whole } = await peek(bytes, 3)
  let skip = start.subarray(0, 3).equals(Buffer.from("\uFEFF")) ? 3 : 0
  for await (const chunk of whole) {
    yield chunk.subarray(skip)
    skip = 0
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: this is the range of ASCII
const isAscii = (text: string) => /^[\x00-\x7f]*$/.test(text)
const utf8 = (cell: string) => Buffer.from(cell, "latin1").toString("utf8")
