import { CLAIM_CHECK_PREFIXES } from "../queue/claim-checks.ts"
import { sendClaimChecks } from "../queue/enqueue.ts"
import { walkBucket } from "./bucket-walk.ts"

/**
 * The sweep sends the message of a claim check again after this time. A message that still exists is
 * delivered much earlier.
 */
const OVERDUE_MS = 60 * 60 * 1000

/** With more messages than this in the queue the consumer is behind, and the sweep sends none. */
const MAX_BACKLOG = 1000

export interface SweepContext {
  queue: Queue
  bucket: R2Bucket
  now: Date
}

/**
 * Sends the message of every claim check that has waited for an hour again: the message was lost, or expired
 * during an outage of the database. Sends nothing while the queue has a backlog, so that an object has a
 * bounded number of messages.
 *
 * @returns how many messages it sent
 */
export async function sweepBucket({ queue, bucket, now }: SweepContext): Promise<number> {
  // Local runtimes do not count their messages, and have few.
  const backlog = await queue.metrics().catch(() => undefined)
  if ((backlog?.backlogCount ?? 0) > MAX_BACKLOG) return 0
  const isOverdue = ({ uploaded }: R2Object) => now.getTime() - uploaded.getTime() > OVERDUE_MS
  let sent = 0
  for (const prefix of CLAIM_CHECK_PREFIXES) {
    sent += await walkBucket(bucket, prefix, async (objects) => {
      const overdue = objects.filter(isOverdue).map(({ key }) => key)
      await sendClaimChecks(queue, overdue)
      return { count: overdue.length }
    })
  }
  return sent
}
