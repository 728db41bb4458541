import { LoggableError } from "../errors.ts"
import type { NewBatch } from "../store/batches/batch.ts"
import { KEY_LIFETIME_MS } from "../store/ledger/keys.ts"
import { batchObject } from "./claim-checks.ts"
import { parseObject } from "./messages.ts"

/** The queued batch of an idempotency key. The ledger has the key only when the batch is stored. */
export interface KeyHolder {
  transactionId: string
  requestHash: string
}

type KeyedBatch = Pick<NewBatch, "caller" | "transactionId"> & {
  idempotency: NonNullable<NewBatch["idempotency"]>
}

/** The prefix of the idempotency keys of queued batches. The sweep deletes expired keys. */
export const KEY_PREFIX = "idempotency_keys/"

async function keyObject({ caller, idempotency }: KeyedBatch): Promise<string> {
  const digest = await crypto.subtle.digest(
    "SHA-256",
    new TextEncoder().encode(`${caller}\n${idempotency.key}`),
  )
  return `${KEY_PREFIX}${new Uint8Array(digest).toHex()}`
}

/** The queued batch of a caller's idempotency key; undefined when there is none. */
export async function findKeyHolder(
  bucket: R2Bucket,
  batch: KeyedBatch,
  now: Date,
): Promise<KeyHolder | undefined> {
  const found = await bucket.get(await keyObject(batch))
  return found ? holderOf(bucket, found, now) : undefined
}

/** Whether a key that was put into the bucket at `uploaded` has expired. */
export const isKeyExpired = (uploaded: Date, now: Date) =>
  now.getTime() - uploaded.getTime() >= KEY_LIFETIME_MS

/** Whether the batch of a key still waits in the bucket. */
export async function standsForWaitingBatch(bucket: R2Bucket, keyObject: string): Promise<boolean> {
  const found = await bucket.get(keyObject)
  const transactionId = found && parseObject(await found.text())?.transactionId
  return typeof transactionId === "string" && (await bucket.head(batchObject(transactionId))) !== null
}

/**
 * A key whose batch still waits does not expire: otherwise a second batch under the key would be stored too.
 */
async function holderOf(bucket: R2Bucket, found: R2ObjectBody, now: Date): Promise<KeyHolder | undefined> {
  const holder = await found.json<KeyHolder>()
  if (!isKeyExpired(found.uploaded, now)) return holder
  return (await bucket.head(batchObject(holder.transactionId))) ? holder : undefined
}

const CLAIM_ATTEMPTS = 5

/**
 * Claims a caller's idempotency key for this batch.
 *
 * @returns the batch that already has the key, if there is one
 * @throws {Error} the bucket failed, or other requests kept changing the key
 */
export async function claimKey(
  bucket: R2Bucket,
  batch: KeyedBatch,
  now: Date,
): Promise<KeyHolder | undefined> {
  const name = await keyObject(batch)
  const holder: KeyHolder = { transactionId: batch.transactionId, requestHash: batch.idempotency.requestHash }
  for (let attempt = 0; attempt < CLAIM_ATTEMPTS; attempt++) {
    const found = await bucket.get(name)
    const other = found ? await holderOf(bucket, found, now) : undefined
    if (other) return other
    // An expired key is overwritten, not deleted, so that only one of several requests can claim it.
    const onlyIf = found ? { etagMatches: found.etag } : { etagDoesNotMatch: "*" }
    if (await bucket.put(name, JSON.stringify(holder), { onlyIf })) return undefined
  }
  throw new LoggableError("the idempotency key kept changing")
}
