import { SUBJECT_FIELDS, type Subjects } from "../signals/erasure.ts"
import { Rejected } from "../signals/failures.ts"
import { type BatchPlan, type Delivered, type PlanOptions, planBatch } from "../signals/plan.ts"
import { textViolation } from "../signals/rules.ts"
import { type Signal, type SignalRow, withPlainNumbers } from "../signals/schema.ts"
import { signalOrRejected } from "../signals/validate.ts"

/**
 * The plan for a delivery. Its indexes are those of the delivery; its total does not count skipped records.
 */
export interface DeliveryPlan {
  plan: BatchPlan
  /** How many were skipped of each kind. */
  skipped: Record<string, number>
  /**
   * The subjects of each record that cannot become a signal, by its index, where they are known: a suppressed
   * record must not be kept.
   */
  subjects: Map<number, Subjects>
}

/**
 * Plans the results of a bridge by the rules of every signal. A signal of the wrong shape fails alone, since
 * the sender of a webhook cannot correct it.
 *
 * @param now the time of every signal without a timestamp, as UTC text
 */
export function planDelivery(
  delivered: readonly Delivered[],
  now: string,
  options: Pick<PlanOptions, "timeLimit"> = {},
): DeliveryPlan {
  const skipped: Record<string, number> = {}
  const subjects = new Map<number, Subjects>()
  const signals: (Signal | Rejected)[] = []
  const indexes: number[] = []
  for (const [index, one] of delivered.entries()) {
    if ("skipped" in one) skipped[one.skipped] = (skipped[one.skipped] ?? 0) + 1
    else {
      signals.push("refused" in one ? refusedRecord(one) : signalOrRejected(withPlainNumbers(one.signal)))
      indexes.push(index)
    }
  }
  const { total, rows, failures } = planBatch(signals, now, options)
  for (const { index } of failures) {
    const at = indexes[index] ?? index
    const one = delivered[at]
    const about = one && ("signal" in one ? one.signal : "refused" in one ? one.about : undefined)
    if (about) subjects.set(at, subjectsOf(about))
  }
  const atIndexes = <One extends { index: number }>(one: One): One => ({
    ...one,
    index: indexes[one.index] ?? one.index,
  })
  return {
    plan: {
      total,
      rows: rows.map(atIndexes).map((row) => withChange(row, delivered[row.index])),
      failures: failures.map(atIndexes),
    },
    skipped,
    subjects,
  }
}

const withChange = (row: SignalRow, one: Delivered | undefined): SignalRow =>
  one && "change" in one && one.change ? { ...row, change: one.change } : row

const subjectsOf = (signal: Record<string, unknown>): Subjects =>
  Object.fromEntries(
    SUBJECT_FIELDS.flatMap((field) => (isStorable(signal[field]) ? [[field, signal[field]]] : [])),
  )

const isStorable = (value: unknown) => typeof value === "string" && textViolation(value) === undefined

const refusedRecord = ({
  refused,
  code = "unreadable_record",
  field,
}: Extract<Delivered, { refused: string }>) => new Rejected({ field, code, message: refused })
