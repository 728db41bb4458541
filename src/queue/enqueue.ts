import type { BatchRecord } from "../signals/responses.ts"
import { isScores, type NewBatch, type NewScores } from "../store/batches/batch.ts"
import type { Delivery } from "../store/batches/deliveries.ts"
import { IdempotencyKeyReused } from "../store/database/errors.ts"
import { isSameRequest } from "../store/ledger/keys.ts"
import { batchObject, putClaimCheck } from "./claim-checks.ts"
import { MAX_MESSAGE_BYTES, messageText, versionOf } from "./messages.ts"
import { claimKey, findKeyHolder, type KeyHolder } from "./queued-keys.ts"

interface Sending {
  queue: Queue
  bucket: R2Bucket
  /** The trace of the present request, for the consumer. */
  traceparent?: string | undefined
}

/**
 * Sends a delivery to the queue. The queue has it when this resolves to true.
 *
 * @returns false when the delivery is too large for a message and there is no bucket
 * @throws {Error} the queue or the bucket failed; the delivery may still be queued
 */
export async function enqueueDelivery(
  {
    queue,
    bucket,
    traceparent,
  }: { queue: Queue; bucket: R2Bucket | undefined; traceparent?: string | undefined },
  delivery: Delivery,
): Promise<boolean> {
  const text = messageText({ version: versionOf([delivery]), kind: "delivery", delivery, traceparent })
  if (new TextEncoder().encode(text).length <= MAX_MESSAGE_BYTES) {
    await queue.send(text, { contentType: "text" })
    return true
  }
  if (!bucket) return false
  const object = await putClaimCheck(bucket, { kind: "deliveries", deliveries: [delivery] })
  await sendClaimCheck({ queue, traceparent }, object)
  return true
}

/**
 * Puts a batch into the bucket and sends its name to the queue. When its idempotency key was used for the
 * same request, it puts nothing and returns the transaction id of the first batch.
 *
 * @param record the future ledger record of the batch
 * @throws {IdempotencyKeyReused} the key was used for another request
 * @throws {Error} the queue or the bucket failed; the batch may still be queued
 */
export async function enqueueBatch(
  context: Sending & { now: Date },
  batch: NewBatch | NewScores,
  record: BatchRecord,
): Promise<{ transactionId: string; replayed: boolean }> {
  const { bucket, now } = context
  const { idempotency } = batch
  const keyed = idempotency && { ...batch, idempotency }
  const held = keyed && (await findKeyHolder(bucket, keyed, now))
  if (held) return resend(context, batch, held)
  // The batch is put before its key, and both before the message: a key without a batch means that the batch
  // was stored.
  const object = await putClaimCheck(
    bucket,
    isScores(batch) ? { kind: "scores", record, batch } : { kind: "batch", record, batch },
  )
  const holder = keyed && (await claimKey(bucket, keyed, now))
  if (holder) {
    await bucket.delete(object)
    return resend(context, batch, holder)
  }
  await sendClaimCheck(context, object)
  return { transactionId: batch.transactionId, replayed: false }
}

/**
 * Sends the message of the first request again, because it may never have been sent. A batch that is already
 * stored is not stored twice.
 */
async function resend(
  context: Sending,
  batch: Pick<NewBatch, "idempotency">,
  held: KeyHolder,
): Promise<{ transactionId: string; replayed: boolean }> {
  if (!isSameRequest(held.requestHash, batch.idempotency?.requestHash)) throw new IdempotencyKeyReused()
  const object = batchObject(held.transactionId)
  if (await context.bucket.head(object)) await sendClaimCheck(context, object)
  return { transactionId: held.transactionId, replayed: true }
}

const sendClaimCheck = ({ queue, traceparent }: Pick<Sending, "queue" | "traceparent">, object: string) =>
  queue.send(messageText({ version: 1, kind: "claim_check", object, traceparent }), { contentType: "text" })

/** `sendBatch` accepts 100 messages and 256 KB; these messages have about 100 bytes. */
const MAX_BATCH_MESSAGES = 100

/** Sends the message of each of these claim checks. */
export async function sendClaimChecks(queue: Queue, objects: readonly string[]): Promise<void> {
  for (let start = 0; start < objects.length; start += MAX_BATCH_MESSAGES)
    await queue.sendBatch(
      objects.slice(start, start + MAX_BATCH_MESSAGES).map((object) => ({
        body: messageText({ version: 1, kind: "claim_check", object }),
        contentType: "text",
      })),
    )
}
