import { enqueueBatch } from "../queue/enqueue.ts"
import type { BatchRecord } from "../signals/responses.ts"
import { instantText } from "../signals/timestamp.ts"
import type { NewBatch } from "../store/batches/batch.ts"
import { IdempotencyKeyReused } from "../store/ledger/keys.ts"
import type { IngestContext } from "./context.ts"
import { isKeyStored } from "./queued-key.ts"

/** A batch that was accepted to be stored later. */
export interface QueuedBatch {
  /** Its future ledger record, as far as it is known now. */
  record: BatchRecord
  /** The Idempotency-Key was used for the same request: the record is that of the first batch. */
  replayed: boolean
}

/** The batch was not queued: store it now, which is safe even if the queue has it. */
export interface NotQueued {
  /**
   * The error for the log; undefined when no queue or bucket is bound, or the ledger has the batch's
   * Idempotency-Key.
   */
  queueError: string | undefined
}

/**
 * Accepts a batch to be stored later (`Prefer: respond-async`, RFC 7240, section 4.1).
 * When this resolves to a record, the batch will be in the ledger under its transaction id.
 *
 * @throws {IdempotencyKeyReused} the key was used for another request
 */
export async function queueBatch(
  { db, queue, bucket, traceparent, now }: IngestContext,
  batch: NewBatch,
): Promise<QueuedBatch | NotQueued> {
  if (!queue || !bucket || (await isKeyStored({ db }, batch))) return { queueError: undefined }
  const record = queuedRecord(batch, now)
  try {
    const { transactionId, replayed } = await enqueueBatch({ queue, bucket, traceparent, now }, batch, record)
    return { record: { ...record, transaction_id: transactionId }, replayed }
  } catch (error) {
    if (error instanceof IdempotencyKeyReused) throw error
    return { queueError: queueErrorText(error) }
  }
}

/** The error for the log. Messages of Queues and R2 contain no values. */
export const queueErrorText = (error: unknown) =>
  `queue out of order: ${error instanceof Error ? error.message : "unknown error"}`

/** The record of a batch that the ledger does not have yet. */
function queuedRecord({ transactionId, caller, plan, idempotency }: NewBatch, now: Date): BatchRecord {
  return {
    transaction_id: transactionId,
    state: "queued",
    created_at: instantText(now),
    caller,
    idempotency_key: idempotency?.key ?? null,
    total_count: plan.total,
    successful_count: 0,
    failed_count: plan.failures.length,
    failures: plan.failures,
  }
}
