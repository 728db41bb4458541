import { uuidv7 } from "uuidv7"
import type { BatchPlan } from "../signals/plan.ts"
import { BatchRefused, type NewBatch, type WrittenBatch } from "../store/batch.ts"
import { recordFailedBatch } from "../store/failed-batch.ts"
import { IdempotencyKeyReused } from "../store/idempotency.ts"
import { writeBatch } from "../store/write-batch.ts"
import type { IngestContext } from "./context.ts"

/** How a caller wants a batch to be stored. */
export interface BatchRequest {
  caller: string
  plan: BatchPlan
  allOrNothing: boolean
  idempotency: NewBatch["idempotency"]
}

/** The batch that a request becomes, under a transaction id of its own. */
export const newBatch = (request: BatchRequest): NewBatch => ({ transactionId: uuidv7(), ...request })

/**
 * Stores a batch, or returns the stored answer when its idempotency key has been used for the same request.
 *
 * @throws {BatchRefused} all or nothing, and the database refused a signal: nothing was stored
 * @throws {IdempotencyKeyReused} the key stands for another request: nothing was stored
 * @throws {BatchInDoubt} the batch may be stored; the ledger will tell, under its transaction id
 * @throws {DatabaseError} nothing was stored
 */
export const storeBatch = ({ db }: Pick<IngestContext, "db">, batch: NewBatch): Promise<WrittenBatch> => writeBatch(db, batch)

/** What one run added to the table, what was there before, and what failed. */
export interface Added {
  stored: number
  duplicates: number
  failed: number
}

export const NOTHING_ADDED: Added = { stored: 0, duplicates: 0, failed: 0 }

/**
 * Stores a batch whose caller has its answer already, so that the ledger gets what would have been an answer.
 *
 * @returns without the failures that were known when the batch was accepted
 * @throws {BatchInDoubt} the batch may be stored; call it again
 * @throws {DatabaseError} nothing was stored; call it again
 */
export async function storeAcceptedBatch({ db }: Pick<IngestContext, "db">, batch: NewBatch): Promise<Added> {
  const { rows, failures: known } = batch.plan
  try {
    const { state, stored, duplicates, failures, replayed } = await writeBatch(db, batch)
    // An earlier delivery of its message entered the failure, and counted it.
    if (state === "failed") return NOTHING_ADDED
    if (!replayed) return { stored: stored.length - duplicates, duplicates, failed: failures.length - known.length }
    const reason = "The same batch had been stored before under this Idempotency-Key."
    await recordFailedBatch(db, batch, { reason, failures: [] })
  } catch (error) {
    if (error instanceof BatchRefused) {
      const reason = "The database refused signals of an all-or-nothing batch."
      await recordFailedBatch(db, batch, { reason, failures: error.failures })
    } else if (error instanceof IdempotencyKeyReused) {
      const reason = "This Idempotency-Key had been used before with another request."
      await recordFailedBatch(db, batch, { reason, failures: [] })
    } else throw error
  }
  return { ...NOTHING_ADDED, failed: rows.length }
}
