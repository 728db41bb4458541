import { platformErrorForLog } from "../errors.ts"
import { claimCheckRecord } from "../queue/claim-checks.ts"
import { enqueueBatch } from "../queue/enqueue.ts"
import { findKeyHolder } from "../queue/queued-keys.ts"
import type { BatchRecord } from "../signals/responses.ts"
import { instantText } from "../signals/timestamp.ts"
import { isScores, type NewBatch, type NewScores } from "../store/batches/batch.ts"
import { hasIdempotencyKey } from "../store/batches/replay.ts"
import { DatabaseError, IdempotencyKeyReused } from "../store/database/errors.ts"
import { isSameRequest } from "../store/ledger/keys.ts"
import { batchRecord } from "../store/ledger/read.ts"
import type { IngestContext } from "./context.ts"

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
  /** Whether the queue or the bucket may have the batch all the same: the error came after it was sent. */
  mayBeQueued: boolean
}

/**
 * Accepts a batch of signals or scores to be stored later (`Prefer: respond-async`, RFC 7240, section 4.1).
 * When this resolves to a record, the batch will be in the ledger under its transaction id.
 *
 * @throws {IdempotencyKeyReused} the key was used for another request
 */
export async function queueBatch(
  { db, queue, bucket, traceparent, now }: IngestContext,
  batch: NewBatch | NewScores,
): Promise<QueuedBatch | NotQueued> {
  if (!queue || !bucket || (await isKeyStored({ db }, batch)))
    return { queueError: undefined, mayBeQueued: false }
  const record = queuedRecord(batch, now)
  try {
    const { transactionId, replayed } = await enqueueBatch({ queue, bucket, traceparent, now }, batch, record)
    return { record: { ...record, transaction_id: transactionId }, replayed }
  } catch (error) {
    if (error instanceof IdempotencyKeyReused) throw error
    return { queueError: queueErrorText(error), mayBeQueued: true }
  }
}

/** The error for the log. */
export const queueErrorText = (error: unknown) => `queue out of order: ${platformErrorForLog(error)}`

/** The record of a batch that the ledger does not have yet. */
function queuedRecord(batch: NewBatch | NewScores, now: Date): BatchRecord {
  const { transactionId, caller, plan, idempotency } = batch
  return {
    transaction_id: transactionId,
    ...(isScores(batch) && { kind: "scores" }),
    state: "queued",
    created_at: instantText(now),
    caller,
    idempotency_key: idempotency?.key ?? null,
    total_count: plan.total,
    successful_count: 0,
    failed_count: plan.failures.length,
    ...(isScores(batch) && { waiting_count: 0 }),
    failures: plan.failures,
  }
}

/**
 * The deadline of the lookup of a key in the other store. After it the request continues, and the ledger
 * decides when the batch is stored.
 */
const LOOKUP_MS = 2000

/**
 * Whether the ledger has the idempotency key of a batch that would be queued. Storing the batch at once then
 * replays the answer, or refuses the key. Also false when the database does not answer in time.
 */
async function isKeyStored(
  { db }: Pick<IngestContext, "db">,
  batch: Pick<NewBatch, "caller" | "idempotency">,
): Promise<boolean> {
  if (!batch.idempotency) return false
  try {
    return await hasIdempotencyKey(db, batch, LOOKUP_MS)
  } catch (error) {
    if (error instanceof DatabaseError) return false
    throw error
  }
}

/**
 * Returns the transaction id of the queued batch that has the idempotency key of a batch. Undefined when
 * there is none, and when the bucket does not answer in time.
 *
 * @throws {IdempotencyKeyReused} the key was used for another request
 */
export async function queuedUnderKey(
  { queue, bucket, now }: Omit<IngestContext, "db">,
  batch: Pick<NewBatch, "caller" | "transactionId" | "idempotency">,
): Promise<string | undefined> {
  const { idempotency } = batch
  if (!queue || !bucket || !idempotency) return undefined
  const found = findKeyHolder(bucket, { ...batch, idempotency }, now).catch(() => undefined)
  const holder = await Promise.race([
    found,
    new Promise<undefined>((resolve) => setTimeout(resolve, LOOKUP_MS)),
  ])
  if (holder && !isSameRequest(holder.requestHash, idempotency.requestHash)) throw new IdempotencyKeyReused()
  return holder?.transactionId
}

/**
 * Returns the ledger's record of a batch. While the ledger has none or cannot be read, returns the record in
 * the batch's claim check.
 *
 * @throws {DatabaseError} the database cannot be read, and there is no claim check
 */
export async function findBatch(
  { db, bucket }: Pick<IngestContext, "db" | "bucket">,
  transactionId: string,
): Promise<BatchRecord | undefined> {
  const queued = async () => (bucket ? claimCheckRecord(bucket, transactionId) : undefined)
  try {
    // A batch that is stored between the first two looks has left the bucket, and is in the ledger.
    return (
      (await batchRecord(db, transactionId)) ??
      (await queued()) ??
      (bucket && (await batchRecord(db, transactionId)))
    )
  } catch (error) {
    const record = error instanceof DatabaseError ? await queued() : undefined
    if (!record) throw error
    return record
  }
}
