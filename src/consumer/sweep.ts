import { type Message, messageText } from "../queue/messages.ts"
import { KEY_LIFETIME_MS } from "../store/idempotency.ts"

/** How long something may wait before it is looked after: a message that still exists is delivered well before. */
const OVERDUE_MS = 60 * 60 * 1000

const PARKED: Record<string, Exclude<Message["kind"], "delivery">> = {
  "batches/": "parked_batch",
  "deliveries/": "parked_delivery",
}

/**
 * Sends again the message of whatever has waited in the bucket for an hour, in case it was lost, and removes idempotency keys past
 * their lifetime. Run by the hour. At most 1,000 of each kind at a time, the rest at the next.
 *
 * @param now milliseconds since the epoch
 */
export async function sweepBucket(queue: Queue, bucket: R2Bucket, now: number): Promise<void> {
  for (const [prefix, kind] of Object.entries(PARKED)) {
    for (const object of await olderThan(bucket, prefix, now - OVERDUE_MS))
      await queue.send(messageText({ version: 1, kind, object }), { contentType: "text" })
  }
  const keys = await olderThan(bucket, "idempotency_keys/", now - KEY_LIFETIME_MS)
  if (keys.length > 0) await bucket.delete(keys)
}

async function olderThan(bucket: R2Bucket, prefix: string, time: number): Promise<string[]> {
  const { objects } = await bucket.list({ prefix, limit: 1000 })
  return objects.filter(({ uploaded }) => uploaded.getTime() < time).map(({ key }) => key)
}
