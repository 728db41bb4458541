import { findKeyHolder } from "../queue/key-holders.ts"
import type { NewBatch } from "../store/batch.ts"
import { DatabaseError } from "../store/errors.ts"
import { IdempotencyKeyReused, isSameRequest } from "../store/idempotency.ts"
import { hasIdempotencyKey } from "../store/replay-batch.ts"
import type { IngestContext } from "./context.ts"

/** For the look at the other home of a key. Without an answer by then a request goes on: the ledger decides when the batch is stored. */
const LOOKUP_MS = 2000

/**
 * Whether the ledger has the idempotency key of a batch that is about to be queued, so that storing it at once replays the answer or
 * refuses the key. False also while the database does not answer.
 */
export async function isKeyStored({ db }: Pick<IngestContext, "db">, batch: NewBatch): Promise<boolean> {
  if (!batch.idempotency) return false
  try {
    return await hasIdempotencyKey(db, batch, LOOKUP_MS)
  } catch (error) {
    if (error instanceof DatabaseError) return false
    throw error
  }
}

/**
 * The transaction id of the queued batch that the idempotency key of a batch stands for. Undefined when there is none, and when the
 * bucket does not say so in time.
 *
 * @throws {IdempotencyKeyReused} the key stands for another request
 */
export async function queuedUnderKey(
  { queue, bucket, now }: Omit<IngestContext, "db">,
  batch: NewBatch,
): Promise<string | undefined> {
  const { idempotency } = batch
  if (!queue || !bucket || !idempotency) return undefined
  const found = findKeyHolder(bucket, { ...batch, idempotency }, now).catch(() => undefined)
  const holder = await Promise.race([found, new Promise<undefined>((resolve) => setTimeout(resolve, LOOKUP_MS))])
  if (holder && !isSameRequest(holder.requestHash, idempotency.requestHash)) throw new IdempotencyKeyReused()
  return holder?.transactionId
}
