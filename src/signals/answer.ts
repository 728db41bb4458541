import type { BatchAnswer, Failure, SignalResult } from "./responses.ts"

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
  /** Null only for a duplicate whose first signal was deleted before the table `dedupe_keys` existed. */
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
  results.sort((one, other) => one.index - other.index)
  return {
    total_count: batch.stored.length + batch.failures.length,
    successful_count: batch.stored.length,
    failed_count: batch.failures.length,
    results,
    transaction_id: batch.transactionId,
    ...(options.ignoredFields.length > 0 && { ignored_fields: [...options.ignoredFields] }),
  }
}

function success({ index, id, duplicate }: StoredId): SignalResult {
  return { index, success: true, signal_id: id, error: null, ...(duplicate && { duplicate: true }) }
}
