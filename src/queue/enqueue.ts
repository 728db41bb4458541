import type { BatchRecord } from "../signals/responses.ts"
import type { NewBatch } from "../store/batch.ts"
import { IdempotencyKeyReused, isSameRequest } from "../store/idempotency.ts"
import type { Delivery } from "../store/write-deliveries.ts"
import { batchObject, putClaimCheck } from "./claim-checks.ts"
import { claimKey, findKeyHolder, type KeyHolder } from "./key-holders.ts"
import { MAX_MESSAGE_BYTES, messageText, versionOf } from "./messages.ts"

interface Sending {
  queue: Queue
  bucket: R2Bucket
  /** Of the request that is answered now; the message carries it to the consumer. */
  traceparent?: string | undefined
}

/**
 * Hands a delivery to the queue. Once this resolves to true the queue has it.
 *
 * @returns false when it is too large for a message and there is no bucket for it to wait in
 * @throws when the queue or the bucket fails; it may have been taken all the same
 */
export async function enqueueDelivery(
  { queue, bucket, traceparent }: { queue: Queue; bucket: R2Bucket | undefined; traceparent?: string | undefined },
  delivery: Delivery,
): Promise<boolean> {
  const text = messageText({ version: versionOf([delivery.batch]), kind: "delivery", delivery, traceparent })
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
 * Puts a batch into the bucket and sends its name to the queue. Under an idempotency key that stands for the same request, nothing is put
 * and the first batch's transaction id is returned.
 *
 * @param record what the ledger will say of the batch
 * @throws {IdempotencyKeyReused} the key stands for another request
 * @throws when the queue or the bucket fails; it may have been taken all the same
 */
export async function enqueueBatch(
  context: Sending & { now: Date },
  batch: NewBatch,
  record: BatchRecord,
): Promise<{ transactionId: string; replayed: boolean }> {
  const { bucket, now } = context
  const { idempotency } = batch
  const keyed = idempotency && { ...batch, idempotency }
  const held = keyed && (await findKeyHolder(bucket, keyed, now))
  if (held) return resend(context, batch, held)
  // The batch comes before its key, and both before the message: a key without a batch means that the batch was stored.
  const object = await putClaimCheck(bucket, { kind: "batch", record, batch })
  const holder = keyed && (await claimKey(bucket, keyed, now))
  if (holder) {
    await bucket.delete(object)
    return resend(context, batch, holder)
  }
  await sendClaimCheck(context, object)
  return { transactionId: batch.transactionId, replayed: false }
}

/** The message of the first request may never have been sent, so it is sent again; a batch that is stored already stays stored once. */
async function resend(context: Sending, batch: NewBatch, held: KeyHolder): Promise<{ transactionId: string; replayed: boolean }> {
  if (!isSameRequest(held.requestHash, batch.idempotency?.requestHash)) throw new IdempotencyKeyReused()
  const object = batchObject(held.transactionId)
  if (await context.bucket.head(object)) await sendClaimCheck(context, object)
  return { transactionId: held.transactionId, replayed: true }
}

const sendClaimCheck = ({ queue, traceparent }: Pick<Sending, "queue" | "traceparent">, object: string) =>
  queue.send(messageText({ version: 1, kind: "claim_check", object, traceparent }), { contentType: "text" })

/** `sendBatch` takes 100 messages and 256 KB; these are of some 100 bytes. */
const MAX_BATCH_MESSAGES = 100

/** Sends the message of each of these claim checks. */
export async function sendClaimChecks(queue: Queue, objects: readonly string[]): Promise<void> {
  for (let start = 0; start < objects.length; start += MAX_BATCH_MESSAGES)
    await queue.sendBatch(
      objects
        .slice(start, start + MAX_BATCH_MESSAGES)
        .map((object) => ({ body: messageText({ version: 1, kind: "claim_check", object }), contentType: "text" })),
    )
}
