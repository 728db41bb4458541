import { type BatchPlan, type PlanOptions, planBatch } from "../signals/plan.ts"
import type { Failure } from "../signals/responses.ts"
import { type Signal, withPlainNumbers } from "../signals/schema.ts"
import { shapeErrors } from "../signals/shape-errors.ts"
import { validateSignal } from "../signals/validate.ts"
import type { Delivered } from "./delivery.ts"

/** What is to be done with what was delivered. The plan's indexes are places in the delivery, and its total leaves out what was skipped. */
export interface DeliveryPlan {
  plan: BatchPlan
  /** How many were skipped of each kind. */
  skipped: Record<string, number>
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
  const failures: Failure[] = []
  const skipped: Record<string, number> = {}
  const signals: Signal[] = []
  const places: number[] = []
  for (const [index, one] of delivered.entries()) {
    if ("skipped" in one) skipped[one.skipped] = (skipped[one.skipped] ?? 0) + 1
    else if ("refused" in one) failures.push({ index, error: one.refused })
    else {
      const read = readSignal(one.signal)
      if (typeof read === "string") failures.push({ index, error: read })
      else {
        signals.push(read)
        places.push(index)
      }
    }
  }
  const judged = planBatch(signals, now, options)
  const placeOf = (index: number) => places[index] ?? index
  const rows = judged.rows.map((row) => ({ ...row, index: placeOf(row.index) }))
  failures.push(...judged.failures.map(({ index, error }) => ({ index: placeOf(index), error })))
  failures.sort((one, other) => one.index - other.index)
  return { plan: { total: rows.length + failures.length, rows, failures }, skipped }
}

/** The signal, or a sentence that names the field of the wrong shape. */
function readSignal(value: Record<string, unknown>): Signal | string {
  const result = validateSignal(withPlainNumbers(value))
  if (result.success) return result.data
  const [fault] = shapeErrors(result.error.issues, value, ["body"])
  return fault ? `${fault.loc.slice(1).join(".")}: ${fault.msg}` : "not a signal"
}
