import { SIGNAL_FIELDS } from "../../signals/schema.ts"

/** The fields of a signal that hold a number. */
const NUMBERS = new Set(["signal_score", "emotional_tone", "escalate_flag"])

/** The fields whose empty text says something else than no value. */
const MAY_BE_EMPTY = new Set([
  "raw_content",
  "signal_vector",
  "agent_id",
  "user_id",
  "relationship_context",
  "diagnostic_notes",
  "payload",
])

/** The first name in `map` that is not a field of a signal. */
export const unknownField = (map: Record<string, string> = {}): string | undefined =>
  Object.values(map).find((field) => !SIGNAL_FIELDS.has(field))

export interface RowOptions {
  /** Field of each column; a column without one goes by its own name, or into the payload. */
  map: Record<string, string>
  /** Makes an object of a cell that is the payload. */
  readPayload: (cell: unknown) => unknown
  /** Whether the source tells an empty text from no value. CSV cannot. */
  hasNulls: boolean
}

/** Makes a signal of a row. No value in a cell is no field in the signal. */
export function signalOfRow(row: Record<string, unknown>, { map, readPayload, hasNulls }: RowOptions): Record<string, unknown> {
  const signal: Record<string, unknown> = {}
  const rest: Record<string, unknown> = {}
  for (const [column, cell] of Object.entries(row)) {
    const field = map[column] ?? column
    const target = SIGNAL_FIELDS.has(field) ? field : "payload"
    if (cell === null || cell === undefined || (cell === "" && !(hasNulls && MAY_BE_EMPTY.has(target)))) continue
    if (target !== field) rest[column] = cell
    else if (field === "payload") signal.payload = readPayload(cell)
    else signal[field] = valueFor(field, cell)
  }
  if (Object.keys(rest).length === 0) return signal
  const { payload } = signal
  const own =
    typeof payload === "object" && payload !== null && !Array.isArray(payload)
      ? payload
      : payload === undefined
        ? {}
        : { payload }
  return { ...signal, payload: { ...rest, ...own } }
}

/** Tables key rooms and users by integers; a signal knows them by text. What fits no rule stays, and the service says what is wrong. */
function valueFor(field: string, cell: unknown): unknown {
  if (NUMBERS.has(field)) return numberOf(cell)
  if (field === "timestamp") return cell
  return typeof cell === "number" || typeof cell === "boolean" ? String(cell) : cell
}

function numberOf(cell: unknown): unknown {
  if (typeof cell === "boolean") return Number(cell)
  return typeof cell === "string" && cell.trim() !== "" && Number.isFinite(Number(cell)) ? Number(cell) : cell
}
