import { type Added, storeAcceptedBatch } from "../ingest/store-batch.ts"
import { type Message as Content, readClaimCheckBatch, readMessage } from "../queue/messages.ts"
import type { Database } from "../store/connection.ts"
import { type DeadLetter, insertDeadLetters } from "../store/dead-letters.ts"
import { type Delivery, writeDeliveries } from "../store/write-deliveries.ts"

/** Messages that are worked off, and so acknowledged or delivered again, together. */
export interface WorkItem {
  messages: Message<unknown>[]
  run(db: Database): Promise<Added>
}

const NOTHING: Added = { stored: 0, failed: 0 }

/** All the deliveries as one item, and each of the rest as its own. */
export function workItems(messages: readonly Message<unknown>[], bucket: R2Bucket | undefined): WorkItem[] {
  const deliveries: { message: Message<unknown>; delivery: Delivery }[] = []
  const items: WorkItem[] = []
  for (const message of messages) {
    const content = readMessage(message.body)
    if (content?.kind === "delivery") deliveries.push({ message, delivery: content.delivery })
    else items.push({ messages: [message], run: (db) => (content ? storeClaimCheck(db, bucket, content) : keep(db, message)) })
  }
  if (deliveries.length === 0) return items
  const together: WorkItem = {
    messages: deliveries.map(({ message }) => message),
    run: (db) =>
      storeDeliveries(
        db,
        deliveries.map(({ delivery }) => delivery),
      ),
  }
  return [together, ...items]
}

async function storeDeliveries(db: Database, deliveries: readonly Delivery[]): Promise<Added> {
  const { stored, refused } = await writeDeliveries(db, deliveries)
  return { stored, failed: refused.length }
}

/** Stores what waits in the bucket, and empties its place. */
async function storeClaimCheck(
  db: Database,
  bucket: R2Bucket | undefined,
  content: Exclude<Content, { kind: "delivery" }>,
): Promise<Added> {
  if (!bucket) throw new Error("a message names an object, and no bucket is bound")
  const parked = await bucket.get(content.object)
  // It goes once it is stored: this message is a repetition.
  if (!parked) return NOTHING
  const text = await parked.text()
  const written =
    content.kind === "parked_delivery"
      ? await storeDeliveries(db, [JSON.parse(text)])
      : await storeAcceptedBatch({ db }, readClaimCheckBatch(text))
  await bucket.delete(content.object)
  return written
}

/** What Cloudflare has put aside is kept in the database, where it can be looked at and replayed. */
export const deadLetterItems = (messages: readonly Message<unknown>[]): WorkItem[] =>
  messages.map((message) => ({ messages: [message], run: (db) => keep(db, message) }))

async function keep(db: Database, message: Message<unknown>): Promise<Added> {
  await insertDeadLetters(db, [await letterOf(message)])
  return NOTHING
}

async function letterOf({ id, body }: Message<unknown>): Promise<DeadLetter> {
  // Made from the message's id, so that a message that comes twice is kept once.
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(id))
  const transactionId = new Uint8Array(digest, 0, 16).toHex()
  const reason = readMessage(body)
    ? "It could not be worked off, however often it was tried."
    : "No version of the service reads it."
  return { transactionId, index: 0, source: "queue", caller: "queue", reason, record: JSON.stringify(body ?? null) }
}
