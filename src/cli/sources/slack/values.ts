import { readJsonLine } from "../jsonl.ts"
import { keptBytes, keptLine } from "../kept.ts"
import { linesOf, type TextLine } from "../lines.ts"
import { type HistoryFile, MAX_FILE_BYTES } from "./files.ts"

/** One JSON value of a file, or the reason why it cannot be read. */
export type FileValue = { place: string; end: number } & ({ json: unknown } | { fault: string; kept?: Record<string, unknown> })

/** Matches the first line of a document that has several lines. */
const OPENS_DOCUMENT = /[[{,]\s*$/

/** Reads a file that is one JSON document, or has one JSON value on each line; the content decides. `end` is the byte after a value. */
export async function* valuesOf(file: HistoryFile): AsyncGenerator<FileValue> {
  let isFirst = true
  const lines = linesOf(file.open(), { name: file.name, maxBytes: MAX_FILE_BYTES })
  for await (const line of lines) {
    if (line.text?.trim() === "") continue
    const read = readLine(file.name, line)
    if (isFirst && "fault" in read && line.text !== undefined && OPENS_DOCUMENT.test(line.text))
      return yield await documentOf(file.name, line, lines)
    isFirst = false
    yield read
  }
  if (isFirst) yield { place: file.name, end: 0, fault: "The file is empty" }
}

function readLine(name: string, { number, text, bytes, end }: TextLine): FileValue {
  const place = `${name}:${number}`
  if (text === undefined) return { place, end, fault: "The line is not UTF-8", kept: keptBytes(bytes) }
  const read = readJsonLine(text)
  return read ? { place, end, json: read.json } : { place, end, fault: "The line is not JSON", kept: keptLine(text) }
}

async function documentOf(name: string, first: TextLine, more: AsyncIterable<TextLine>): Promise<FileValue> {
  const parts = [first.text]
  let end = first.end
  for await (const line of more) {
    end = line.end
    if (end > MAX_FILE_BYTES)
      return { place: name, end, fault: `The file is one JSON document of more than ${MAX_FILE_BYTES / 1024 / 1024} MiB` }
    parts.push(line.text)
  }
  if (parts.includes(undefined)) return { place: name, end, fault: "The file is not UTF-8" }
  const read = readJsonLine(parts.join("\n"))
  return read ? { place: name, end, json: read.json } : { place: name, end, fault: "The file is not JSON" }
}
