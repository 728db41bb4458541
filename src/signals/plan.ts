import { type FailureCode, failureAt, Rejected, type Violation } from "./failures.ts"
import { encodePayload } from "./payload.ts"
import type { Failure } from "./responses.ts"
import { brokenRule, futureViolation, reservedKeyViolation, type TimeLimit } from "./rules.ts"
import { type Change, rowOf, SIGNAL_FIELDS, type Signal, type SignalRow } from "./schema.ts"

/** The plan of a batch: every signal is either in `rows` or in `failures`, both in batch order. */
export interface BatchPlan {
  total: number
  rows: SignalRow[]
  failures: Failure[]
}

export interface PlanOptions {
  /** Whether the signals may have dedupe keys of the bridges. Default: true. */
  mayBridge?: boolean
  /** Default: none. */
  timeLimit?: TimeLimit | undefined
}

/**
 * Checks the values of each signal of a batch. Pure: the same request, `now` and options give the same plan.
 *
 * @param signals `Rejected` is a signal of the wrong shape, which fails alone
 * @param now the time of every signal without a timestamp, as UTC text
 */
export function planBatch(
  signals: readonly (Signal | Rejected)[],
  now: string,
  { mayBridge = true, timeLimit }: PlanOptions = {},
): BatchPlan {
  const plan: BatchPlan = { total: signals.length, rows: [], failures: [] }
  for (const [index, signal] of signals.entries()) {
    const planned =
      signal instanceof Rejected ? signal.violation : planSignal(signal, index, now, { mayBridge, timeLimit })
    if ("code" in planned) plan.failures.push(failureAt(index, planned))
    else plan.rows.push(planned)
  }
  return plan
}

/** Returns the row of `signal`, or the rule that it breaks. */
function planSignal(
  signal: Signal,
  index: number,
  now: string,
  { mayBridge, timeLimit }: PlanOptions,
): SignalRow | Violation {
  const reserved = mayBridge ? undefined : reservedKeyViolation(signal.dedupe_key)
  if (reserved) return reserved
  const payload = encodePayload(signal.payload)
  if (payload.violation !== undefined) return payload.violation
  const violation = brokenRule(signal, payload.text, payload.printedCharacters)
  if (violation) return violation
  const time = signal.timestamp ?? now
  if (typeof time !== "string") return { field: "timestamp", code: "out_of_range", message: time.message }
  const tooFarAhead = timeLimit && signal.timestamp != null ? futureViolation(time, timeLimit) : undefined
  if (tooFarAhead) return tooFarAhead
  return rowOf(signal, { index, time, payload: payload.text })
}

const MAX_IGNORED_FIELDS = 100
const BATCH_FIELDS: ReadonlySet<string> = new Set(["signals", "fail_on_error"])

/**
 * Returns the names of unknown fields, which are not stored: each once, at most 100.
 *
 * @param request as it was parsed, since validation leaves out a field named `__proto__`
 */
export function ignoredFields(request: { signals: readonly unknown[]; [field: string]: unknown }): string[] {
  const unknown = new Set<string>()
  for (const name in request) if (!BATCH_FIELDS.has(name)) unknown.add(name)
  for (const signal of request.signals) {
    if (typeof signal !== "object" || Array.isArray(signal) || signal instanceof Rejected) continue
    for (const name in signal) if (!SIGNAL_FIELDS.has(name)) unknown.add(name)
    if (unknown.size > MAX_IGNORED_FIELDS) break
  }
  return [...unknown].slice(0, MAX_IGNORED_FIELDS)
}

/** The result of a bridge for one record or event. */
export type Delivered =
  /** A signal as a batch has it. It is not validated yet. */
  | { signal: Record<string, unknown>; change?: Change }
  /** A score of a signal as a batch of scores has it. It is not validated yet. */
  | { score: Record<string, unknown> }
  /** The kind of a record that is acknowledged and not stored, such as `message_changed`. */
  | { skipped: string }
  /**
   * One sentence that says why the record can never become a signal. The default code is `unreadable_record`.
   * `about` has the subjects of the record as far as they are known, in the fields of a signal.
   */
  | { refused: string; code?: FailureCode; field?: string | undefined; about?: Record<string, unknown> }
