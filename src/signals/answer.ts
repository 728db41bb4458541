import type { BatchAnswer, Failure, ScoresAnswer, SignalResult } from "./responses.ts"
import type { SignalRow } from "./schema.ts"

/** The outcome of a batch. */
export interface StoredBatch {
  transactionId: string | null
  /** Every signal that is in the table now, in batch order. */
  stored: StoredId[]
  /**
   * Every signal that is not, in batch order: those that broke a rule, and those that the database refused.
   */
  failures: Failure[]
}

export interface StoredId {
  index: number
  /**
   * Null only for a duplicate whose first signal was deleted before the table `dedupe_keys` existed, and for
   * a score that waits for its signal.
   */
  id: number | null
  /** The id is that of an earlier signal with the same `dedupe_key`. */
  duplicate: boolean
}

/**
 * The answer to a batch: one result for each signal, in order.
 *
 * @param options.minimal leaves successful signals out of `results` (`Prefer: return=minimal`, RFC 7240
 *   section 4.2)
 */
export function answerBatch(
  batch: StoredBatch,
  options: { minimal: boolean; ignoredFields: readonly string[] },
): BatchAnswer {
  const failures = batch.failures.map(
    ({ index, ...why }): SignalResult => ({ index, success: false, signal_id: null, ...why }),
  )
  const results = options.minimal ? failures : [...batch.stored.map(success), ...failures]
  results.sort((a, b) => a.index - b.index)
  return {
    total_count: batch.stored.length + batch.failures.length,
    successful_count: batch.stored.length,
    failed_count: batch.failures.length,
    results,
    transaction_id: batch.transactionId,
    ...(options.ignoredFields.length > 0 && { ignored_fields: [...options.ignoredFields] }),
  }
}

/** The answer to a batch of scores. */
export function answerScores(batch: StoredBatch, options: Parameters<typeof answerBatch>[1]): ScoresAnswer {
  const { total_count, successful_count, failed_count, ...rest } = answerBatch(batch, options)
  const waiting_count = batch.stored.filter(isWaiting).length
  return { total_count, successful_count, failed_count, waiting_count, ...rest }
}

/**
 * Says what is wrong with the outcome of a batch, before it becomes an answer: its parts account for each
 * signal once, and the ids of new signals ascend as the signals do. Undefined when nothing is.
 *
 * @param total the signals or scores that were sent
 * @param options.isAscending whether the ids are new ones. Those of scores are as they were sent
 */
export function violationIn(
  { stored, failures }: Pick<StoredBatch, "stored" | "failures">,
  total: number,
  { isAscending = true }: { isAscending?: boolean } = {},
): string | undefined {
  if (stored.length + failures.length !== total)
    return `${stored.length} stored and ${failures.length} failed signals are not ${total}`
  let failed = 0
  let index = 0
  let last = 0
  for (const one of stored) {
    for (; failures[failed]?.index === index; index++) failed++
    if (one.index !== index++) return `signal ${index - 1} is missing or out of order`
    if (!isAscending || one.duplicate || one.id === null) continue
    if (one.id <= last) return `the id of signal ${one.index} does not follow the one before`
    last = one.id
  }
  for (; failures[failed]?.index === index; index++) failed++
  return index === total ? undefined : "a failed signal is missing or out of order"
}

function success(stored: StoredId): SignalResult {
  const { index, id, duplicate } = stored
  return {
    index,
    success: true,
    signal_id: id,
    error: null,
    ...(duplicate && { duplicate: true }),
    ...(isWaiting(stored) && { waiting: true }),
  }
}

/** A count by name. It is a map, since a sender can choose any name for a source. */
export type Counts = ReadonlyMap<string, number>

export const NO_COUNTS: Counts = new Map()

function countBy<Item>(items: readonly Item[], nameOf: (item: Item) => string): Counts {
  const counts = new Map<string, number>()
  for (const item of items) {
    const name = nameOf(item)
    counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  return counts
}

/** The outcomes of scores. */
export interface ScoreCounts {
  /** Scores that are new in the history of their signals. */
  stored: number
  /** Scores that are kept until their signals come. */
  waiting: number
  duplicates: number
  failed: number
}

export const NO_SCORES: ScoreCounts = { stored: 0, waiting: 0, duplicates: 0, failed: 0 }

/** Whether a score waits for its signal. */
export const isWaiting = ({ id, duplicate }: StoredId): boolean => id === null && !duplicate

/** Counts the outcomes of a batch of scores. */
export function countScores({ stored, failures }: Pick<StoredBatch, "stored" | "failures">): ScoreCounts {
  const waiting = stored.filter(isWaiting).length
  const duplicates = stored.filter(({ duplicate }) => duplicate).length
  return { stored: stored.length - waiting - duplicates, waiting, duplicates, failed: failures.length }
}

export const addScores = (one: ScoreCounts, other: ScoreCounts): ScoreCounts => ({
  stored: one.stored + other.stored,
  waiting: one.waiting + other.waiting,
  duplicates: one.duplicates + other.duplicates,
  failed: one.failed + other.failed,
})

/** Counts signals by source. */
export const countSources = (rows: readonly Pick<SignalRow, "signalSource">[]): Counts =>
  countBy(rows, (row) => row.signalSource)

/** Counts failed signals by the code of their failure. */
export const countCodes = (failures: readonly Failure[]): Counts => countBy(failures, ({ code }) => code)

/** Counts the rows of a batch that are new in the table, by source. */
export function countNew(
  rows: readonly SignalRow[],
  stored: readonly { index: number; duplicate: boolean }[],
): Counts {
  const added = new Set(stored.filter(({ duplicate }) => !duplicate).map(({ index }) => index))
  return countSources(rows.filter(({ index }) => added.has(index)))
}

export function addCounts(one: Counts, other: Counts): Counts {
  if (one.size === 0 || other.size === 0) return one.size === 0 ? other : one
  const sum = new Map(one)
  for (const [name, count] of other) sum.set(name, (sum.get(name) ?? 0) + count)
  return sum
}

/** Completes a countBy to `total`: counts the rest under `name`. */
export function countsWithRest(known: Counts, total: number, name: string): Counts {
  const rest = total - [...known.values()].reduce((sum, count) => sum + count, 0)
  return rest > 0 || known.size === 0 ? addCounts(known, new Map([[name, Math.max(0, rest)]])) : known
}
