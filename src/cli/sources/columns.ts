/** The fields of a signal that hold a number. */
const NUMBERS = new Set(["signal_score", "emotional_tone", "escalate_flag"])
const FIELDS = new Set([
  ...[
    "context_window_id",
    "timestamp",
    "raw_content",
    "signal_source",
    "signal_score",
    "signal_vector",
    "emotional_tone",
    "escalate_flag",
  ],
  ...["agent_id", "user_id", "payload", "relationship_context", "diagnostic_notes", "dedupe_key"],
])

/** Whether every field that `map` names is one of a signal's; else the name that is not. */
export const unknownField = (map: Record<string, string> = {}): string | undefined =>
  Object.values(map).find((field) => !FIELDS.has(field))

/**
 * A row of a table as a signal: a column by the field that `map` gives it, else by its own name; what has no field goes into the payload.
 * Nothing in a cell is nothing in the signal.
 *
 * @param readPayload makes an object of a cell that is the payload
 */
export function signalOfRow(
  row: Record<string, unknown>,
  map: Record<string, string>,
  readPayload: (cell: unknown) => unknown,
): Record<string, unknown> {
  const signal: Record<string, unknown> = {}
  const rest: Record<string, unknown> = {}
  for (const [column, cell] of Object.entries(row)) {
    if (cell === null || cell === undefined || cell === "") continue
    const field = map[column] ?? column
    if (!FIELDS.has(field)) rest[column] = cell
    else if (field === "payload") signal.payload = readPayload(cell)
    else signal[field] = NUMBERS.has(field) ? numberOf(cell) : cell
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

/** What is no number stays as it is: the service says what is wrong with it. */
const numberOf = (cell: unknown) =>
  typeof cell === "string" && cell.trim() !== "" && Number.isFinite(Number(cell)) ? Number(cell) : cell
