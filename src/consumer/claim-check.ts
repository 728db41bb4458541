import { storeDeliveries } from "../ingest/accept-delivery.ts"
import type { Count, IngestContext } from "../ingest/context.ts"
import { storeAcceptedBatch } from "../ingest/store-batch.ts"
import {
  type ClaimCheck,
  getClaimCheck,
  UnreadableClaimCheck,
  unreadableObject,
} from "../queue/claim-checks.ts"
import { insertDeadLetters } from "../store/dead-letters/store.ts"
import { keepLetters, letterOfClaimCheck } from "./letters.ts"

type Context = Pick<IngestContext, "db" | "bucket"> & { count: Count }

/**
 * Stores the content of a claim check, and deletes its object.
 *
 * @throws {BatchInDoubt} the content may be stored; a retry is safe
 * @throws {DatabaseError} nothing was stored; a retry is safe
 * @throws {Error} there is no bucket, or the bucket fails
 */
export async function storeClaimCheck({ db, bucket, count }: Context, object: string): Promise<void> {
  if (!bucket) throw new Error("a message names an object, but no bucket is bound")
  try {
    const claimCheck = await getClaimCheck(bucket, object)
    // The object was stored and deleted already: this is a second delivery of the message.
    if (!claimCheck) return
    await store({ db, count }, claimCheck)
    await bucket.delete(object)
  } catch (error) {
    if (!(error instanceof UnreadableClaimCheck)) throw error
    await keepUnreadable({ db, bucket }, object)
  }
}

async function store(context: Pick<Context, "db" | "count">, claimCheck: ClaimCheck): Promise<void> {
  switch (claimCheck.kind) {
    case "batch":
      return context.count(await storeAcceptedBatch(context, claimCheck.batch))
    case "deliveries":
      return storeDeliveries(context, claimCheck.deliveries)
    case "message":
      return keepLetters(context.db, [claimCheck])
  }
}

/**
 * Moves an object that this version cannot read to where the sweep does not look, and makes a dead letter of
 * it.
 */
async function keepUnreadable(
  { db, bucket }: { db: Context["db"]; bucket: R2Bucket },
  object: string,
): Promise<void> {
  const keptAs = unreadableObject(object)
  if (keptAs !== object) {
    const found = await bucket.get(object)
    if (found) await bucket.put(keptAs, await found.arrayBuffer())
  }
  await insertDeadLetters(db, [await letterOfClaimCheck(object, keptAs)])
  if (keptAs !== object) await bucket.delete(object)
}
