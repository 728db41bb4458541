import { isTooDeep, readJsonLine, TOO_DEEP } from "../reading/json.ts"
import { linesOf, type TextLine } from "../reading/lines.ts"
import { keptBytes, keptLine } from "../reading/source.ts"
import { type HistoryFile, MAX_FILE_BYTES } from "./files.ts"

/** One JSON value of a file, or the reason why it cannot be read. */
export type FileValue = { place: string; end: number } & (
  | { json: unknown }
  | { error: string; kept?: Record<string, unknown> }
)

/**
 * Bound of the JSON values of a file that is one document: parsed, each takes up to 100 bytes beside its
 * text. A message of Slack has about 30.
 */
const MAX_VALUES = 10_000_000
const TOO_MANY_VALUES = `The file is one JSON document of more than ${MAX_VALUES / 1_000_000} million values. Split it into several files`

/** Matches the first line of a document that has several lines. */
const OPENS_DOCUMENT = /[[{,]\s*$/

/**
 * Reads a file that is one JSON document, or has one JSON value on each line; the content decides. `end` is
 * the byte after a value.
 */
export async function* valuesOf(file: HistoryFile): AsyncGenerator<FileValue> {
  let isFirst = true
  const lines = linesOf(file.open(), { name: file.name, maxBytes: MAX_FILE_BYTES })
  for await (const line of lines) {
    if (line.text?.trim() === "") continue
    const read = readLine(file.name, line)
    if (isFirst && "error" in read && line.text !== undefined && OPENS_DOCUMENT.test(line.text))
      return yield await documentOf(file.name, line, lines)
    isFirst = false
    yield read
  }
  if (isFirst) yield { place: file.name, end: 0, error: "The file is empty" }
}

function readLine(name: string, { number, text, bytes, end }: TextLine): FileValue {
  const place = `${name}:${number}`
  if (countValues(bytes) > MAX_VALUES) return { place, end, error: TOO_MANY_VALUES }
  if (text === undefined) return { place, end, error: "The line is not UTF-8", kept: keptBytes(bytes) }
  const read = readJsonLine(text)
  if (!read) return { place, end, error: "The line is not JSON", kept: keptLine(text) }
  return isTooDeep(read.json) ? { place, end, error: TOO_DEEP } : { place, end, json: read.json }
}

async function documentOf(name: string, first: TextLine, more: AsyncIterable<TextLine>): Promise<FileValue> {
  const parts = [first.text]
  let end = first.end
  let values = countValues(first.bytes)
  for await (const line of more) {
    end = line.end
    values += countValues(line.bytes)
    if (values > MAX_VALUES) return { place: name, end, error: TOO_MANY_VALUES }
    if (end > MAX_FILE_BYTES)
      return {
        place: name,
        end,
        error: `The file is one JSON document of more than ${MAX_FILE_BYTES / 1024 / 1024} MiB`,
      }
    parts.push(line.text)
  }
  if (parts.includes(undefined)) return { place: name, end, error: "The file is not UTF-8" }
  const read = readJsonLine(parts.join("\n"))
  if (!read) return { place: name, end, error: "The file is not JSON" }
  return isTooDeep(read.json) ? { place: name, end, error: TOO_DEEP } : { place: name, end, json: read.json }
}

const [QUOTE, BACKSLASH, COMMA, BRACKET, BRACE] = [0x22, 0x5c, 0x2c, 0x5b, 0x7b]

/**
 * Counts the values of a line of JSON before anything is built from it; a string does not go on in the next
 * line.
 */
function countValues(bytes: Uint8Array): number {
  let count = 0
  let isInText = false
  for (let place = 0; place < bytes.length; place++) {
    const byte = bytes[place]
    if (byte === QUOTE) isInText = !isInText
    else if (isInText) {
      if (byte === BACKSLASH) place++
    } else if (byte === COMMA || byte === BRACKET || byte === BRACE) count++
  }
  return count
}
