import { CLAIM_CHECK_PREFIXES, oldestBatchUpload } from "../queue/claim-checks.ts"
import { sendClaimChecks } from "../queue/enqueue.ts"
import { parseObject } from "../queue/messages.ts"
import { isKeyExpired, KEY_PREFIX, standsForWaitingBatch } from "../queue/queued-keys.ts"

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

/** An R2 call deletes at most 1,000 objects. */
const MAX_DELETED = 1000

/**
 * While an expired key can belong to a waiting batch, the sweep reads each key: at most this many in a run,
 * 50 at once.
 */
const MAX_READ = 500
const READ_AT_ONCE = 50

/**
 * Deletes a bounded number of expired idempotency keys, so that they do not accumulate in a bucket without a
 * lifecycle rule. A key whose batch still waits is kept: without it a retry would be stored a second time.
 *
 * R2 has no conditional delete, so a request that reuses an expired key at this moment can lose its key. The
 * ledger then finds the duplicate when the batch is stored, as during an outage of the bucket.
 *
 * @returns how many objects it deleted
 */
export async function sweepKeys(bucket: R2Bucket, now: Date): Promise<number> {
  const oldest = await oldestBatchUpload(bucket)
  // A batch is put before its key. If no batch is as old as an expired key, no expired key belongs to a
  // waiting batch.
  const mayWait = oldest !== undefined && isKeyExpired(oldest, now)
  return await walkBucket(bucket, KEY_PREFIX, async (objects) => {
    const expired = objects.filter(({ uploaded }) => isKeyExpired(uploaded, now)).map(({ key }) => key)
    const taken = mayWait ? expired.slice(0, MAX_READ) : expired
    const released = mayWait ? await withoutWaiting(bucket, taken) : taken
    for (let start = 0; start < released.length; start += MAX_DELETED)
      await bucket.delete(released.slice(start, start + MAX_DELETED))
    return { count: released.length, until: taken.length < expired.length ? taken.at(-1) : undefined }
  })
}

async function withoutWaiting(bucket: R2Bucket, keys: readonly string[]): Promise<string[]> {
  const released: string[] = []
  for (let start = 0; start < keys.length; start += READ_AT_ONCE) {
    const some = keys.slice(start, start + READ_AT_ONCE)
    const waits = await Promise.all(some.map((key) => standsForWaitingBatch(bucket, key)))
    released.push(...some.filter((_, index) => !waits[index]))
  }
  return released
}

/** The most objects of one prefix that a run lists; a call lists 1,000. */
const MAX_LISTED = 20_000

/** The object that holds the position of the last run for each prefix, so that every object is visited. */
const POSITIONS = "sweep/positions"

interface Visit {
  /** The number of objects that the visit handled. */
  count: number
  /** The last visited object, when the visit did not visit all. */
  until?: string | undefined
}

/**
 * Visits a bounded number of the objects of a prefix, starting where the last run stopped. When the visit
 * throws, the next run starts from the same object.
 *
 * @returns the count of the visit
 */
async function walkBucket(
  bucket: R2Bucket,
  prefix: string,
  visit: (objects: readonly R2Object[]) => Promise<Visit>,
): Promise<number> {
  const position = (await readPositions(bucket))[prefix]
  const { objects, next } = await listFrom(
    bucket,
    prefix,
    typeof position === "string" ? position : undefined,
  )
  const { count, until } = await visit(objects)
  const nextPosition = until ?? next
  if (nextPosition !== position)
    await bucket.put(POSITIONS, JSON.stringify({ ...(await readPositions(bucket)), [prefix]: nextPosition }))
  return count
}

async function readPositions(bucket: R2Bucket): Promise<Record<string, unknown>> {
  return parseObject((await (await bucket.get(POSITIONS))?.text()) ?? "{}") ?? {}
}

/** Lists the objects after a position, and returns the next position: undefined after the last object. */
async function listFrom(
  bucket: R2Bucket,
  prefix: string,
  startAfter: string | undefined,
): Promise<{ objects: R2Object[]; next: string | undefined }> {
  const found: R2Object[] = []
  let next = startAfter
  while (found.length < MAX_LISTED) {
    const { objects, truncated } = await bucket.list({
      prefix,
      limit: 1000,
      ...(next !== undefined && { startAfter: next }),
    })
    found.push(...objects)
    next = objects.at(-1)?.key
    if (!truncated) return { objects: found, next: undefined }
  }
  return { objects: found, next }
}
