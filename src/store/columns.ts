import type { SignalRow } from "../signals/plan.ts"

/** One parameter of the write: the values that every row has in one column, as one text. */
export interface Columns {
  contextWindowId: string
  time: string
  rawContent: string
  signalSource: string
  signalScore: string
  signalVector: string
  emotionalTone: string
  escalateFlag: string
  agentId: string
  userId: string
  /** JSON texts, one a line, an empty line for none. */
  payload: string
  relationshipContext: string
  diagnosticNotes: string
  dedupeKey: string
}

/**
 * The rows of a batch turned into columns: Postgres array literals, so that a batch of any size has the same few parameters.
 *
 * A column without any value is the empty array, which `unnest` pads with nulls. Payloads travel as lines, since in an array
 * literal every quote of their JSON would have to be escaped once more.
 *
 * @see https://www.postgresql.org/docs/18/arrays.html#ARRAYS-IO
 */
export function encodeColumns(rows: readonly SignalRow[]): Columns {
  return {
    contextWindowId: literal(rows, (row) => quoted(row.contextWindowId)),
    time: literal(rows, (row) => row.time),
    rawContent: literal(rows, (row) => quoted(row.rawContent)),
    signalSource: literal(rows, (row) => quoted(row.signalSource)),
    signalScore: literal(rows, (row) => row.signalScore),
    signalVector: literal(rows, (row) => quoted(row.signalVector)),
    emotionalTone: literal(rows, (row) => row.emotionalTone),
    escalateFlag: literal(rows, (row) => row.escalateFlag),
    agentId: literal(rows, (row) => quoted(row.agentId)),
    userId: literal(rows, (row) => quoted(row.userId)),
    payload: rows.some((row) => row.payload !== "") ? rows.map((row) => row.payload).join("\n") : "",
    relationshipContext: literal(rows, (row) => quoted(row.relationshipContext)),
    diagnosticNotes: literal(rows, (row) => quoted(row.diagnosticNotes)),
    dedupeKey: literal(rows, (row) => quoted(row.dedupeKey)),
  }
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
function quoted(text: string | null): string | null {
  if (text === null) return null
  return `"${text.includes('"') || text.includes("\\") ? text.replace(/["\\]/g, "\\$&") : text}"`
}
