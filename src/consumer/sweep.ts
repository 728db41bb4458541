import { CLAIM_CHECK_PREFIXES } from "../queue/claim-checks.ts"
import { sendClaimChecks } from "../queue/enqueue.ts"
import { parseObject } from "../queue/messages.ts"

/** How long a claim check waits before the sweep sends its message again: one that still exists is delivered well before. */
const OVERDUE_MS = 60 * 60 * 1000

/** At most so many objects are listed in one run of each kind, by 1,000 a call. */
const MAX_LISTED = 20_000

/** With more messages than this in the queue, the consumer is behind: more would not help it. */
const MAX_BACKLOG = 1000

/** Where the last run stopped, by prefix, so that every object has its turn. */
const POSITIONS = "sweep/positions"

export interface SweepContext {
  queue: Queue
  bucket: R2Bucket
  now: Date
}

/**
 * Sends again the message of every claim check that has waited for an hour: its message was lost, or an outage of the database outlasted
 * it. Sends nothing while the queue is full, so that an object has a bounded number of messages.
 *
 * @returns how many messages it sent
 */
export async function sweepBucket({ queue, bucket, now }: SweepContext): Promise<number> {
  // A runtime that does not count its messages has few.
  const backlog = await queue.metrics().catch(() => undefined)
  if ((backlog?.backlogCount ?? 0) > MAX_BACKLOG) return 0
  const positions = parseObject((await (await bucket.get(POSITIONS))?.text()) ?? "{}") ?? {}
  let sent = 0
  for (const prefix of CLAIM_CHECK_PREFIXES) {
    const position = positions[prefix]
    const { objects, next } = await overdue(bucket, {
      prefix,
      now,
      startAfter: typeof position === "string" ? position : undefined,
    })
    await sendClaimChecks(queue, objects)
    sent += objects.length
    positions[prefix] = next
  }
  await bucket.put(POSITIONS, JSON.stringify(positions))
  return sent
}

/** The overdue objects from a position on, and the next position, undefined after the last object. */
async function overdue(
  bucket: R2Bucket,
  { prefix, now, startAfter }: { prefix: string; now: Date; startAfter: string | undefined },
): Promise<{ objects: string[]; next: string | undefined }> {
  const found: string[] = []
  let next = startAfter
  for (let listed = 0; listed < MAX_LISTED; ) {
    const { objects, truncated } = await bucket.list({ prefix, limit: 1000, ...(next !== undefined && { startAfter: next }) })
    found.push(...objects.filter(({ uploaded }) => now.getTime() - uploaded.getTime() > OVERDUE_MS).map(({ key }) => key))
    listed += objects.length
    next = objects.at(-1)?.key
    if (!truncated) return { objects: found, next: undefined }
  }
  return { objects: found, next }
}
