import type { SignalRow } from "../../signals/plan.ts"
import { type Columns, SIGNAL_COLUMNS, type SignalColumn, type SignalField } from "./signal-columns.ts"

/**
 * The rows of a batch as columns: Postgres array literals, so that a batch of any size has the same few parameters.
 *
 * A column without any value is the empty array, which `unnest` pads with nulls. Payloads travel as lines, since in an array
 * literal every quote of their JSON would have to be escaped once more.
 *
 * @see https://www.postgresql.org/docs/18/arrays.html#ARRAYS-IO
 */
export function encodeColumns(rows: readonly SignalRow[]): Columns {
  const texts = SIGNAL_COLUMNS.map(({ field, type }) => [field, encode(rows, field, type)])
  return Object.fromEntries(texts) as Columns
}

function encode(rows: readonly SignalRow[], field: SignalField, type: SignalColumn["type"]): string {
  if (type === "jsonb") return rows.some((row) => row[field] !== "") ? rows.map((row) => row[field]).join("\n") : ""
  return type === "text" ? literal(rows, (row) => quoted(row[field])) : literal(rows, (row) => row[field])
}

function literal(rows: readonly SignalRow[], element: (row: SignalRow) => string | number | null): string {
  let hasValue = false
  const elements = rows.map((row) => {
    const value = element(row)
    hasValue ||= value !== null
    return value ?? "NULL"
  })
  return hasValue ? `{${elements.join(",")}}` : "{}"
}

/** Few texts hold anything to escape, and looking first is faster than a replacement that replaces nothing. */
function quoted(value: string | number | null): string | null {
  if (value === null) return null
  const text = String(value)
  return `"${text.includes('"') || text.includes("\\") ? escaped(text) : text}"`
}

/** V8 keeps every match of one `replace` until it ends: 4 million of them take more than a Worker has. */
const ESCAPED_AT_ONCE = 65_536

function escaped(text: string): string {
  let result = ""
  for (let start = 0; start < text.length; start += ESCAPED_AT_ONCE)
    result += text.slice(start, start + ESCAPED_AT_ONCE).replace(/["\\]/g, "\\$&")
  return result
}
