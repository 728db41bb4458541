import { SIGNAL_FIELDS } from "../../signals/schema.ts"
import { UsageError } from "../usage.ts"

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

/**
 * Finds the mistakes that every row would repeat.
 *
 * @throws {UsageError} a column is there twice, `--map` names one that is not there, or none is the conversation
 */
export function checkColumns(source: string, columns: readonly string[], map: Record<string, string>): void {
  const twice = columns.find((column, at) => columns.indexOf(column) !== at)
  if (twice !== undefined) throw new UsageError(`${source} has two columns named "${twice}". Rename one of them.`)
  const missing = Object.keys(map).find((column) => !columns.includes(column))
  if (missing !== undefined)
    throw new UsageError(`--map: ${source} has no column "${missing}". Its columns are: ${columns.join(", ")}.`)
  if (columns.some((column) => (map[column] ?? column) === "context_window_id")) return
  const hint = columns.length === 1 ? " Or choose another --delimiter." : ""
  throw new UsageError(
    `${source} has no column for context_window_id. Its columns are: ${columns.join(", ")}. Name one with --map COLUMN=context_window_id.${hint}`,
  )
}
