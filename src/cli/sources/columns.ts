import { FREE_TEXTS, SIGNAL_FIELDS } from "../../signals/schema.ts"
import { UsageError } from "../usage.ts"

/** The fields of a signal that hold a number. */
const NUMBERS = new Set(["signal_score", "emotional_tone", "escalate_flag"])

/** The fields in which an empty text is a value. */
const MAY_BE_EMPTY = new Set<string>([...FREE_TEXTS, "payload"])

/** Returns the first name in `map` that is not a field of a signal. */
export const unknownField = (map: Record<string, string> = {}): string | undefined =>
  Object.values(map).find((field) => !SIGNAL_FIELDS.has(field))

export interface RowOptions {
  /**
   * The field of each column. A column that is not here goes into the field of its own name, or into the
   * payload.
   */
  map: Record<string, string>
  /** Parses the cell of the payload. */
  readPayload: (cell: unknown) => unknown
  /** Whether the source distinguishes an empty text from no value. CSV does not. */
  hasNulls: boolean
}

/** Turns a row into a signal. A cell without a value adds no field. */
export function signalOfRow(
  row: Record<string, unknown>,
  { map, readPayload, hasNulls }: RowOptions,
): Record<string, unknown> {
  const signal: Record<string, unknown> = {}
  const rest: Record<string, unknown> = {}
  for (const [column, cell] of Object.entries(row)) {
    const field = map[column] ?? column
    const target = SIGNAL_FIELDS.has(field) ? field : "payload"
    if (cell === null || cell === undefined || (cell === "" && !(hasNulls && MAY_BE_EMPTY.has(target))))
      continue
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

/**
 * Tables often identify rooms and users by integers, where a signal has text. Other wrong values stay: the
 * service rejects them.
 */
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
 * Finds the mistakes that every row would have.
 *
 * @throws {UsageError} two columns have one name, one is named `__proto__`, `--map` names a column that does
 *   not exist, or none is the context_window_id
 */
export function checkColumns(source: string, columns: readonly string[], map: Record<string, string>): void {
  const twice = columns.find((column, at) => columns.indexOf(column) !== at)
  if (twice !== undefined)
    throw new UsageError(`${source} has two columns named "${twice}". Rename one of them.`)
  // The libraries that read tables set it on an object, where it is no column but the object's prototype.
  if (columns.includes("__proto__"))
    throw new UsageError(`${source} has a column named "__proto__", which cannot be read. Rename it.`)
  const missing = Object.keys(map).find((column) => !columns.includes(column))
  if (missing !== undefined)
    throw new UsageError(
      `--map: ${source} has no column "${missing}". Its columns are: ${columns.join(", ")}.`,
    )
  if (columns.some((column) => (map[column] ?? column) === "context_window_id")) return
  const hint = columns.length === 1 ? " Or choose another --delimiter." : ""
  throw new UsageError(
    `${source} has no column for context_window_id. Its columns are: ${columns.join(", ")}. Name one with --map COLUMN=context_window_id.${hint}`,
  )
}
