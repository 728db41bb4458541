import { uuidv7 } from "uuidv7"
import { countCodes, countNew, countsWithRest } from "../signals/answer.ts"
import type { BatchPlan } from "../signals/plan.ts"
import type { Failure } from "../signals/responses.ts"
import { BatchInDoubt, BatchRefused, type NewBatch, type WrittenBatch } from "../store/batches/batch.ts"
import { repeatChanges, withoutFailed } from "../store/batches/changes.ts"
import { recordFailedBatch, recordSameBatch } from "../store/batches/failed.ts"
import { replayBatch } from "../store/batches/replay.ts"
import { writeBatch } from "../store/batches/write.ts"
import type { Database } from "../store/database/connection.ts"
import { DatabaseError, IdempotencyKeyReused } from "../store/database/errors.ts"
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
 * @param options.mayBeQueued whether the queue or the bucket may have the batch, which then can be stored
 *   later. An answer that denies it is given only after the ledger has an entry that keeps it from being
 *   stored
 * @throws {BatchRefused} all or nothing, and the database refused a signal: nothing was stored
 * @throws {IdempotencyKeyReused} the key was used for another request: nothing was stored
 * @throws {BatchInDoubt} the batch may be stored; the ledger has it under its transaction id if it was
 * @throws {DatabaseError} nothing was stored
 */
export async function storeBatch(
  context: IngestContext,
  batch: NewBatch,
  { mayBeQueued = false }: { mayBeQueued?: boolean } = {},
): Promise<WrittenBatch> {
  if (!mayBeQueued) return storeNow(context, batch)
  const { db } = context
  try {
    return await storeNow(context, batch).catch((error) => denyQueued(db, batch, error))
  } catch (error) {
    throw error instanceof DatabaseError ? new BatchInDoubt(batch, error) : error
  }
}

async function storeNow(context: IngestContext, batch: NewBatch): Promise<WrittenBatch> {
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
 * Enters a refused batch as failed, so that its message or object is never stored.
 *
 * @returns the batch, where its message was stored in the meantime
 * @throws the refusal, or another error
 */
async function denyQueued(db: Database, batch: NewBatch, error: unknown): Promise<WrittenBatch> {
  const refusal = refusalOf(error)
  if (!refusal) throw error
  await recordFailedBatch(db, batch, refusal)
  const written = await replayBatch(db, { ...batch, idempotency: undefined })
  if (written?.state === "stored") return written
  throw error
}

/** The reason and the failures of a batch that cannot be stored; undefined for an error of another kind. */
function refusalOf(error: unknown): { reason: string; failures: Failure[] } | undefined {
  if (error instanceof BatchRefused)
    return {
      reason: "The database refused signals of an all-or-nothing batch.",
      failures: error.failures,
    }
  if (error instanceof IdempotencyKeyReused)
    return { reason: "This Idempotency-Key had been used before with another request.", failures: [] }
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
    // Its signals were counted when they were stored. The attempt that entered it may have ended before its
    // changes, if it was one of an earlier version.
    await repeatChanges(db, [withoutFailed(batch, failures)])
    if (replayed) await recordSameBatch(db, batch, transactionId)
    return NOTHING_ADDED
  } catch (error) {
    const refusal = refusalOf(error)
    if (!refusal) throw error
    await recordFailedBatch(db, batch, refusal)
    const codes =
      error instanceof BatchRefused
        ? countsWithRest(countCodes(refusal.failures), rows.length, "batch_rejected")
        : new Map([["idempotency_key_reused", rows.length]])
    return { ...NOTHING_ADDED, failed: rows.length, codes }
  }
}
