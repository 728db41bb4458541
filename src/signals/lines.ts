import { StoredSignal } from "./responses.ts"

/** A signal as a read gives it, with its payload as JSON text, so that every digit stays as it is stored. */
export type ExportedRow = Omit<StoredSignal, "payload"> & { payload: string | null }

/** The fields of a stored signal in the order of every export. */
export const EXPORT_COLUMNS = Object.keys(StoredSignal.shape) as (keyof StoredSignal)[]

/**
 * A line of NDJSON: the object that a page of the list has. Line ends of Unicode are escaped, since some
 * readers of lines end a line at them, such as Python's `splitlines`.
 */
export function ndjsonLine(row: ExportedRow): string {
  let text = ""
  for (const name of EXPORT_COLUMNS) {
    const value = row[name]
    if (value === undefined) continue
    text += `${text === "" ? "{" : ","}"${name}":${name === "payload" ? (value ?? "null") : JSON.stringify(value)}`
  }
  return `${withoutLineEnds(text)}}\n`
}

/** Escapes the line ends in a JSON text that JSON does not escape itself. They are only in its strings. */
const withoutLineEnds = (json: string): string => replaceAll(json, /[\u0085\u2028\u2029]/g, escaped)

/** A value as JSON that every reader of lines takes for one line. */
export const jsonLine = (value: unknown): string => withoutLineEnds(JSON.stringify(value))

const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`

/** The first line of a CSV export. */
export const CSV_HEADER = `${EXPORT_COLUMNS.join(",")}\r\n`

/**
 * A line of CSV. Null is an empty cell, and an empty text is `""`.
 *
 * @see https://www.rfc-editor.org/rfc/rfc4180#section-2
 */
export function csvLine(row: ExportedRow): string {
  return `${EXPORT_COLUMNS.map((name) => cell(row[name])).join(",")}\r\n`
}

function cell(value: string | number | boolean | null | undefined): string {
  if (value === null || value === undefined) return ""
  if (typeof value !== "string") return String(value)
  return value === "" || /[",\r\n]/.test(value) ? `"${replaceAll(value, /"/g, () => '""')}"` : value
}

/** V8 keeps every match of one `replace` until it ends: 4 million of them take more than a Worker has. */
const REPLACED_AT_ONCE = 65_536

/** Replaces single characters. */
function replaceAll(text: string, character: RegExp, by: (found: string) => string): string {
  if (text.search(character) === -1) return text
  let result = ""
  for (let start = 0; start < text.length; start += REPLACED_AT_ONCE)
    result += text.slice(start, start + REPLACED_AT_ONCE).replace(character, by)
  return result
}
