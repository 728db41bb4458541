import { uuidv7 } from "uuidv7"
import { type Counts, countCodes, countNew, countsWithRest } from "../signals/answer.ts"
import type { BatchPlan } from "../signals/plan.ts"
import { BatchRefused, type NewBatch, type WrittenBatch } from "../store/batches/batch.ts"
import { recordFailedBatch, recordSameBatch } from "../store/batches/failed.ts"
import { writeBatch } from "../store/batches/write.ts"
import { IdempotencyKeyReused } from "../store/database/errors.ts"
import { type Added, type IngestContext, NOTHING_ADDED } from "./context.ts"
import { queuedUnderKey } from "./queue-batch.ts"

/** A caller's request to store a batch. */
export interface BatchRequest {
  caller: string
  plan: BatchPlan
  allOrNothing: boolean
  idempotency: NewBatch["idempotency"]
}

/** Makes a batch of a request, with a new transaction id. */
export const newBatch = (request: BatchRequest): NewBatch => ({ transactionId: uuidv7(), ...request })

/**
 * Stores a batch, or returns the stored answer when its idempotency key was used for the same request. When a
 * queued batch has the key, it is stored now under its own transaction id, so that its message later finds it
 * stored.
 *
 * @throws {BatchRefused} all or nothing, and the database refused a signal: nothing was stored
 * @throws {IdempotencyKeyReused} the key was used for another request: nothing was stored
 * @throws {BatchInDoubt} the batch may be stored; the ledger has it under its transaction id if it was
 * @throws {DatabaseError} nothing was stored
 */
export async function storeBatch(context: IngestContext, batch: NewBatch): Promise<WrittenBatch> {
  const { db } = context
  const queued = await queuedUnderKey(context, batch)
  if (queued !== undefined && queued !== batch.transactionId) {
    const written = await writeBatch(db, { ...batch, transactionId: queued })
    if (written.state === "stored") return { ...written, replayed: true }
    // None of the queued batch could be stored, so its key is free again.
  }
  return writeBatch(db, batch)
}

/**
 * Stores a batch whose caller already has the answer. The ledger records the outcome.
 *
 * @returns counts without the failures that were known when the batch was accepted
 * @throws {BatchInDoubt} the batch may be stored; a retry is safe
 * @throws {DatabaseError} nothing was stored; a retry is safe
 */
export async function storeAcceptedBatch({ db }: Pick<IngestContext, "db">, batch: NewBatch): Promise<Added> {
  const { rows, failures: known } = batch.plan
  let codes: Counts
  try {
    const { state, stored, duplicates, failures, replayed, isNew, transactionId } = await writeBatch(
      db,
      batch,
    )
    // An earlier delivery of its message entered the failure, and counted it.
    if (state === "failed") return NOTHING_ADDED
    if (isNew) {
      const before = new Set(known.map(({ index }) => index))
      const failed = failures.filter(({ index }) => !before.has(index))
      const sources = countNew(rows, stored)
      return {
        stored: stored.length - duplicates,
        duplicates,
        failed: failed.length,
        sources,
        codes: countCodes(failed),
      }
    }
    // Its signals were counted when they were stored.
    if (replayed) await recordSameBatch(db, batch, transactionId)
    return NOTHING_ADDED
  } catch (error) {
    if (error instanceof BatchRefused) {
      const reason = "The database refused signals of an all-or-nothing batch."
      await recordFailedBatch(db, batch, { reason, failures: error.failures })
      codes = countsWithRest(countCodes(error.failures), rows.length, "batch_rejected")
    } else if (error instanceof IdempotencyKeyReused) {
      const reason = "This Idempotency-Key had been used before with another request."
      await recordFailedBatch(db, batch, { reason, failures: [] })
      codes = new Map([["idempotency_key_reused", rows.length]])
    } else throw error
  }
  return { ...NOTHING_ADDED, failed: rows.length, codes }
}
