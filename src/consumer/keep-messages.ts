import { cutIntoChunks } from "../ingest/chunks.ts"
import { putClaimCheck } from "../queue/claim-checks.ts"
import { readMessage } from "../queue/messages.ts"
import type { Delivery } from "../store/batches/deliveries.ts"

/**
 * Keeps messages in the bucket while the database does not answer; the sweep sends them to the queue again.
 * Messages that one statement can store together go into one object.
 *
 * @returns the messages that are safe in the bucket; none without a bucket
 * @throws {Error} the bucket failed before it had any message
 */
export async function keepMessages(
  messages: readonly Message<unknown>[],
  bucket: R2Bucket | undefined,
): Promise<Message<unknown>[]> {
  if (!bucket || messages.length === 0) return []
  const kept: Message<unknown>[] = []
  const deliveries: { message: Message<unknown>; delivery: Delivery }[] = []
  try {
    for (const message of messages) {
      const content = readMessage(message.body)
      if (content?.kind === "delivery") deliveries.push({ message, delivery: content.delivery })
      else {
        // A claim check is in the bucket already.
        if (!content) await putClaimCheck(bucket, { kind: "message", id: message.id, body: message.body })
        kept.push(message)
      }
    }
    const weighed = deliveries.map((item) => {
      return { item, bytes: String(item.message.body).length, rows: item.delivery.batch.plan.rows.length }
    })
    for (const chunk of cutIntoChunks(weighed)) {
      await putClaimCheck(bucket, { kind: "deliveries", deliveries: chunk.map(({ delivery }) => delivery) })
      kept.push(...chunk.map(({ message }) => message))
    }
  } catch (error) {
    if (kept.length === 0) throw error
  }
  return kept
}
