import { Rejected } from "../signals/failures/violation.ts"
import { SUBJECT_FIELDS, type Subjects } from "../signals/lifecycle/erasure.ts"
import { type BatchPlan, type PlanOptions, planBatch, type SignalRow } from "../signals/plan.ts"
import { textViolation } from "../signals/rules.ts"
import { type Signal, withPlainNumbers } from "../signals/schema.ts"
import { signalOrRejected } from "../signals/validate.ts"
import type { Delivered } from "./delivery.ts"

/** What is to be done with what was delivered. The plan's indexes are places in the delivery, and its total leaves out what was skipped. */
export interface DeliveryPlan {
  plan: BatchPlan
  /** How many were skipped of each kind. */
  skipped: Record<string, number>
  /** Whom each record is about that can't become a signal, by its place, as far as that is known: a suppressed one must not be kept. */
  subjects: Map<number, Subjects>
}

/**
 * Judges what a bridge has made of a delivery, each signal by the rules of every signal. One of the wrong shape fails alone here,
 * since its sender can't mend it.
 *
 * @param now the time of every signal that brings none, as UTC text
 */
export function planDelivery(
  delivered: readonly Delivered[],
  now: string,
  options: Pick<PlanOptions, "timeLimit"> = {},
): DeliveryPlan {
  const skipped: Record<string, number> = {}
  const subjects = new Map<number, Subjects>()
  const signals: (Signal | Rejected)[] = []
  const places: number[] = []
  for (const [index, one] of delivered.entries()) {
    if ("skipped" in one) skipped[one.skipped] = (skipped[one.skipped] ?? 0) + 1
    else {
      signals.push("refused" in one ? refusedRecord(one) : signalOrRejected(withPlainNumbers(one.signal)))
      places.push(index)
    }
  }
  const { total, rows, failures } = planBatch(signals, now, options)
  for (const { index } of failures) {
    const place = places[index] ?? index
    const one = delivered[place]
    if (one && "signal" in one) subjects.set(place, subjectsOf(one.signal))
  }
  const placed = <One extends { index: number }>(one: One): One => ({ ...one, index: places[one.index] ?? one.index })
  return {
    plan: { total, rows: rows.map(placed).map((row) => withChange(row, delivered[row.index])), failures: failures.map(placed) },
    skipped,
    subjects,
  }
}

const withChange = (row: SignalRow, one: Delivered | undefined): SignalRow =>
  one && "change" in one && one.change ? { ...row, change: one.change } : row

const subjectsOf = (signal: Record<string, unknown>): Subjects =>
  Object.fromEntries(SUBJECT_FIELDS.flatMap((field) => (isStorable(signal[field]) ? [[field, signal[field]]] : [])))

const isStorable = (value: unknown) => typeof value === "string" && textViolation(value) === undefined

const refusedRecord = ({ refused, code = "unreadable_record", field }: Extract<Delivered, { refused: string }>) =>
  new Rejected({ field, code, message: refused })
