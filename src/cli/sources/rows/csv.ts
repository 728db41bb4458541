import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { parse } from "csv-parse"
import { parse as parseNow } from "csv-parse/sync"
import { UsageError } from "../../terminal/errors.ts"
import { openBytes, peek, shareOfBytes } from "../reading/bytes.ts"
import { textOf } from "../reading/lines.ts"
import { keptBytes, keptLine, type Source, SourceError, type SourceRecord } from "../reading/source.ts"
import { openRows, type RowReader } from "./columns.ts"
import type { Imported } from "./convert.ts"

/** Bound of a row: an unclosed quotation mark would make the rest of the file one row. */
const MAX_ROW_BYTES = 16 * 1024 * 1024

interface Row {
  record: Record<string, string | null>
  raw: string
  info: { lines: number; bytes: number; error?: { message: string } }
}

/** Reads rows of a table with a header (RFC 4180). A position is the number of bytes before it. */
export function openCsv(
  path: string,
  options: { map: Record<string, string>; delimiter: string; imported?: Imported | undefined },
): Source {
  const delimiter = readDelimiter(options.delimiter)
  let rows: RowReader | undefined
  return {
    share: shareBefore(shareOfBytes(path)),
    payloadColumns: () => rows?.payloadColumns ?? [],
    async *records() {
      const { header, whole } = await readHeader(withoutMark(openBytes(path)), path)
      const names = namesOf(header, { path, delimiter })
      if (names.length === 0) return
      rows = openRows(path, names, { map: options.map, hasNulls: false, imported: options.imported })
      const { isExported } = rows
      for await (const row of rowsOf(whole, { path, names, delimiter, isExported }))
        yield { ...readRow(row, `${path}:${row.info.lines}`, rows), position: String(row.info.bytes) }
    },
  }
}

const shareBefore = (share: ((byte: number) => number) | undefined) =>
  share && ((position: string) => share(Number(position)))

function readDelimiter(text: string): string {
  const delimiter = text === "\\t" ? "\t" : text
  if (delimiter.length !== 1 || delimiter > "\x7f" || '"\r\n\0'.includes(delimiter))
    throw new UsageError("--delimiter must be one ASCII character, such as ; or \\t for a tab.")
  return delimiter
}

function readRow({ record, raw, info }: Row, place: string, rows: RowReader): SourceRecord {
  const bytes = Buffer.from(raw, "latin1")
  const text = isAscii(raw) ? raw : textOf(bytes)
  if (text === undefined) return { place, error: "The row is not UTF-8", kept: keptBytes(bytes) }
  if (info.error !== undefined) return { place, error: info.error.message, kept: keptLine(text.trimEnd()) }
  const cells =
    text === raw
      ? record
      : Object.fromEntries(Object.entries(record).map(([name, cell]) => [name, cell && utf8(cell)]))
  return rows.read(cells, place, keptLine(text.trimEnd()))
}

/** Reads the first bytes until they hold the first row. */
async function readHeader(
  bytes: AsyncIterable<Buffer>,
  path: string,
): Promise<{ header: Buffer; whole: AsyncIterable<Buffer> }> {
  let { start, whole } = await peek(bytes, 1)
  for (let length = start.length; endOfRow(start) === -1; length = start.length) {
    ;({ start, whole } = await peek(whole, length + 1))
    if (start.length === length) break
    if (start.length > MAX_ROW_BYTES)
      throw new SourceError(`${path}: the header is longer than ${MAX_ROW_BYTES / 1024 / 1024} MiB.`)
  }
  return { header: start, whole }
}

const [QUOTE, LF, CR] = [0x22, 0x0a, 0x0d]

/** The index of the first line end outside quotation marks that stands behind a character; -1 for none. */
function endOfRow(bytes: Buffer): number {
  let isQuoted = false
  let isEmpty = true
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index]
    if (byte === QUOTE) isQuoted = !isQuoted
    const isEnd = !isQuoted && (byte === LF || byte === CR)
    if (isEnd && !isEmpty) return index
    if (!isEnd) isEmpty = false
  }
  return -1
}

/** How every row is read: cells as latin1, one character for each byte, see `rowsOf`. */
const SETTINGS = {
  encoding: "latin1" as const,
  // A file that programs have appended to may have several.
  record_delimiter: ["\r\n", "\n", "\r"],
  skip_empty_lines: true,
  relax_column_count: true,
  relax_quotes: true,
  max_record_size: MAX_ROW_BYTES,
}

/** @throws {SourceError} the header is not CSV, such as one whose quotation mark is not closed */
function namesOf(start: Buffer, { path, delimiter }: { path: string; delimiter: string }): string[] {
  const end = endOfRow(start)
  const header = end === -1 ? start : start.subarray(0, end)
  try {
    const [names = []] = parseNow(header, { ...SETTINGS, delimiter, to: 1 }) as string[][]
    return names.map((name) => textOf(Buffer.from(name, "latin1")) ?? name)
  } catch (error) {
    throw new SourceError(`${path}: the header is not CSV: ${(error as Error).message}. Correct the file.`)
  }
}

interface RowsRequest {
  path: string
  names: string[]
  delimiter: string
  isExported: boolean
}

/**
 * Reads cells as latin1, one character for each byte, so that bytes that are not UTF-8 fail only their row.
 */
async function* rowsOf(
  bytes: AsyncIterable<Buffer>,
  { path, names, delimiter, isExported }: RowsRequest,
): AsyncGenerator<Row> {
  const parser = parse({
    ...SETTINGS,
    columns: () => names,
    delimiter,
    info: true,
    raw: true,
    // Costs time for each cell.
    ...(isExported && { cast: nullOfCell }),
  })
  const input = new InputOfParser(bytes)
  // The loop over `parser` throws the same error.
  pipeline(Readable.from(input.chunks()), parser).catch(() => {})
  try {
    for await (const row of parser as AsyncIterable<Row>) if (!input.cuts(row)) yield row
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (input.error === undefined && code?.startsWith("CSV_"))
      throw new SourceError(`${path} cannot be read as CSV: ${message}. Correct the file behind that row.`)
    throw input.error ?? error
  }
  if (input.error !== undefined) throw input.error
}

/** Ends the parser's input at an error of the source, so that the parser still yields the rows before it. */
class InputOfParser {
  readonly #bytes: AsyncIterable<Buffer>
  #count = 0
  #last: number | undefined
  /** Why the source could not be read to its end. */
  error: unknown

  constructor(bytes: AsyncIterable<Buffer>) {
    this.#bytes = bytes
  }

  async *chunks(): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of this.#bytes) {
        this.#count += chunk.length
        this.#last = chunk.at(-1) ?? this.#last
        yield chunk
      }
    } catch (error) {
      this.error = error
    }
  }

  /** Whether the error has cut this row: it is the last one, and has no end. */
  cuts({ info }: Row): boolean {
    const isEnded = this.#last === LF || this.#last === CR
    return this.error !== undefined && !isEnded && info.bytes >= this.#count
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
