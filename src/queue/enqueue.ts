import type { BatchRecord } from "../signals/responses.ts"
import type { NewBatch } from "../store/batch.ts"
import { IdempotencyKeyReused, KEY_LIFETIME_MS } from "../store/idempotency.ts"
import type { Delivery } from "../store/write-deliveries.ts"
import { batchObject, claimCheckText, deliveryObject, type Message, messageText, readClaimCheckRecord } from "./messages.ts"

/** A message may hold 128,000 bytes, of which some are the queue's own: https://developers.cloudflare.com/queues/platform/limits/ */
const MAX_MESSAGE_BYTES = 127_000

/**
 * Hands a delivery to the queue. Once this resolves to true the queue has it.
 *
 * @returns false when it is too large for a message and there is no bucket for it to wait in
 * @throws when the queue or the bucket fails; it may have been taken all the same
 */
export async function enqueueDelivery(queue: Queue, bucket: R2Bucket | undefined, delivery: Delivery): Promise<boolean> {
  const text = messageText({ version: 1, kind: "delivery", delivery })
  if (new TextEncoder().encode(text).length <= MAX_MESSAGE_BYTES) {
    await queue.send(text, { contentType: "text" })
    return true
  }
  if (!bucket) return false
  const object = deliveryObject(delivery.batch.transactionId)
  await bucket.put(object, JSON.stringify(delivery))
  await sendPointer(queue, { version: 1, kind: "parked_delivery", object })
  return true
}

/**
 * Parks a batch in the bucket and hands its name to the queue. Under an idempotency key that stands for the same batch, that one's
 * record is returned and nothing else is parked.
 *
 * @param record what is told of the batch until it is stored
 * @throws {IdempotencyKeyReused} the key stands for another request
 * @throws when the queue or the bucket fails; it may have been taken all the same
 */
export async function enqueueBatch(
  queue: Queue,
  bucket: R2Bucket,
  batch: NewBatch,
  record: BatchRecord,
): Promise<{ transactionId: string; replayed: boolean }> {
  const held = batch.idempotency && (await heldBy(bucket, batch))
  if (held) return resend(queue, bucket, batch, held)
  const object = batchObject(batch.transactionId)
  // The batch comes before its key, and both before the message: a key without a batch means that the batch was worked off.
  await bucket.put(object, claimCheckText({ record, batch }))
  const holder = batch.idempotency && (await claimKey(bucket, batch))
  if (holder) {
    await bucket.delete(object)
    return resend(queue, bucket, batch, holder)
  }
  await sendPointer(queue, { version: 1, kind: "parked_batch", object })
  return { transactionId: batch.transactionId, replayed: false }
}

/** What the ledger will know of a batch that waits in the bucket; undefined when none does. */
export async function claimCheckRecord(bucket: R2Bucket, transactionId: string): Promise<BatchRecord | undefined> {
  const parked = await bucket.get(batchObject(transactionId))
  return parked ? readClaimCheckRecord(await parked.text()) : undefined
}

const sendPointer = (queue: Queue, message: Message) => queue.send(messageText(message), { contentType: "text" })

/** Which batch an idempotency key stands for. */
interface KeyHolder {
  transactionId: string
  requestHash: string
}

async function keyObject({ caller, idempotency }: NewBatch): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${caller}\n${idempotency?.key}`))
  return `idempotency_keys/${new Uint8Array(digest).toHex()}`
}

async function heldBy(bucket: R2Bucket, batch: NewBatch): Promise<KeyHolder | undefined> {
  const name = await keyObject(batch)
  const held = await bucket.get(name)
  if (!held) return undefined
  if (Date.now() - held.uploaded.getTime() < KEY_LIFETIME_MS) return held.json<KeyHolder>()
  await bucket.delete(name)
}

/** Makes the key stand for this batch. Returns the batch that was faster, if one was. */
async function claimKey(bucket: R2Bucket, batch: NewBatch): Promise<KeyHolder | undefined> {
  const holder: KeyHolder = { transactionId: batch.transactionId, requestHash: batch.idempotency?.requestHash ?? "" }
  const claimed = await bucket.put(await keyObject(batch), JSON.stringify(holder), { onlyIf: { etagDoesNotMatch: "*" } })
  return claimed ? undefined : heldBy(bucket, batch)
}

/** The message of the first request may never have been sent, so it is sent again; a batch that is stored already stays stored once. */
async function resend(
  queue: Queue,
  bucket: R2Bucket,
  batch: NewBatch,
  held: KeyHolder,
): Promise<{ transactionId: string; replayed: boolean }> {
  if (held.requestHash !== batch.idempotency?.requestHash) throw new IdempotencyKeyReused()
  const object = batchObject(held.transactionId)
  if (await bucket.head(object)) await sendPointer(queue, { version: 1, kind: "parked_batch", object })
  return { transactionId: held.transactionId, replayed: true }
}
