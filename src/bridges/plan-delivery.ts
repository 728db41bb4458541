import { planScores, type ScorePlan } from "../scores/plan.ts"
import type { Score } from "../scores/score.ts"
import { scoreOrRejected } from "../scores/validate.ts"
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
  /** The signals, and every record that can become neither a signal nor a score. */
  plan: BatchPlan
  /** The scores that can be stored. */
  scores: ScorePlan
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
  const scores: (Score | Rejected)[] = []
  const scoreIndexes: number[] = []
  for (const [index, one] of delivered.entries()) {
    if ("skipped" in one) skipped[one.skipped] = (skipped[one.skipped] ?? 0) + 1
    else if ("score" in one) {
      scores.push(scoreOrRejected(one.score))
      scoreIndexes.push(index)
    } else {
      signals.push("refused" in one ? refusedRecord(one) : signalOrRejected(withPlainNumbers(one.signal)))
      indexes.push(index)
    }
  }
  const { total, rows, failures } = planBatch(signals, now, options)
  const scored = planScores(scores, now, options.timeLimit)
  for (const { index } of failures) {
    const position = indexes[index] ?? index
    const one = delivered[position]
    const about = one && ("signal" in one ? one.signal : "refused" in one ? one.about : undefined)
    if (about) subjects.set(position, subjectsOf(about))
  }
  const failed = [...at(indexes, failures), ...at(scoreIndexes, scored.failures)]
  return {
    plan: {
      total: total + scored.failures.length,
      rows: at(indexes, rows).map((row) => withChange(row, delivered[row.index])),
      failures: failed.sort((a, b) => a.index - b.index),
    },
    scores: { total: scored.rows.length, rows: at(scoreIndexes, scored.rows), failures: [] },
    skipped,
    subjects,
  }
}

/** What is at positions of a part of the delivery, by its indexes in the delivery. */
const at = <One extends { index: number }>(indexes: readonly number[], ones: readonly One[]): One[] =>
  ones.map((one) => ({ ...one, index: indexes[one.index] ?? one.index }))

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
