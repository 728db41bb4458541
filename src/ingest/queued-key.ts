import { findKeyHolder } from "../queue/key-holders.ts"
import type { NewBatch } from "../store/batches/batch.ts"
import { hasIdempotencyKey } from "../store/batches/replay.ts"
import { DatabaseError } from "../store/database/errors.ts"
import { IdempotencyKeyReused, isSameRequest } from "../store/ledger/keys.ts"
import type { IngestContext } from "./context.ts"

/**
 * The deadline of the lookup of a key in the other place. After it the request continues, and the ledger
 * decides when the batch is stored.
 */
const LOOKUP_MS = 2000

/**
 * Whether the ledger has the idempotency key of a batch that would be queued. Storing the batch at once then
 * replays the answer, or refuses the key. Also false when the database does not answer in time.
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
 * Returns the transaction id of the queued batch that has the idempotency key of a batch. Undefined when
 * there is none, and when the bucket does not answer in time.
 *
 * @throws {IdempotencyKeyReused} the key was used for another request
 */
export async function queuedUnderKey(
  { queue, bucket, now }: Omit<IngestContext, "db">,
  batch: NewBatch,
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
