import { storeDeliveries } from "../ingest/accept-delivery.ts"
import type { IngestContext } from "../ingest/context.ts"
import { type Added, NOTHING_ADDED, storeAcceptedBatch } from "../ingest/store-batch.ts"
import { type ClaimCheck, getClaimCheck, UnreadableClaimCheck, unreadableObject } from "../queue/claim-checks.ts"
import { insertDeadLetters } from "../store/dead-letters.ts"
import { letterOfClaimCheck, letterOfMessage } from "./letters.ts"

type Context = Pick<IngestContext, "db" | "bucket">

/**
 * Stores what a claim check holds, and deletes it.
 *
 * @throws {BatchInDoubt} it may be stored; call it again
 * @throws {DatabaseError} nothing was stored; call it again
 * @throws when there is no bucket, or the bucket fails
 */
export async function storeClaimCheck({ db, bucket }: Context, object: string): Promise<Added> {
  if (!bucket) throw new Error("a message names an object, and no bucket is bound")
  try {
    const claimCheck = await getClaimCheck(bucket, object)
    // An object is deleted once it is stored: this message is a repetition.
    if (!claimCheck) return NOTHING_ADDED
    const added = await store({ db }, claimCheck)
    await bucket.delete(object)
    return added
  } catch (error) {
    if (!(error instanceof UnreadableClaimCheck)) throw error
    await keepUnreadable({ db, bucket }, object)
    return NOTHING_ADDED
  }
}

async function store(context: Pick<Context, "db">, claimCheck: ClaimCheck): Promise<Added> {
  switch (claimCheck.kind) {
    case "batch":
      return storeAcceptedBatch(context, claimCheck.batch)
    case "deliveries":
      return storeDeliveries(context, claimCheck.deliveries)
    case "message":
      await insertDeadLetters(context.db, [await letterOfMessage(claimCheck.id, claimCheck.body)])
      return NOTHING_ADDED
  }
}

/** Moves an object that this version can't read out of the sweep's way, and makes a dead letter of it. */
async function keepUnreadable({ db, bucket }: { db: Context["db"]; bucket: R2Bucket }, object: string): Promise<void> {
  const keptAs = unreadableObject(object)
  if (keptAs !== object) {
    const found = await bucket.get(object)
    if (found) await bucket.put(keptAs, await found.arrayBuffer())
  }
  await insertDeadLetters(db, [await letterOfClaimCheck(object, keptAs)])
  if (keptAs !== object) await bucket.delete(object)
}
