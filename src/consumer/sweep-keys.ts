import { oldestBatchUpload } from "../queue/claim-checks.ts"
import { isKeyExpired, KEY_PREFIX, standsForWaitingBatch } from "../queue/queued-keys.ts"
import { walkBucket } from "./bucket-walk.ts"

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
    released.push(...some.filter((_, place) => !waits[place]))
  }
  return released
}
