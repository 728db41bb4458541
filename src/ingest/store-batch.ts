import { uuidv7 } from "uuidv7"
import { countCodes, countNew, countScores, countsWithRest, NO_SCORES } from "../signals/answer.ts"
import type { BatchPlan } from "../signals/plan.ts"
import type { Failure } from "../signals/responses.ts"
import {
  assertOutcome,
  BatchInDoubt,
  BatchRefused,
  isScores,
  type NewBatch,
  type NewScores,
  type WrittenBatch,
} from "../store/batches/batch.ts"
import { repeatChanges, withoutFailed } from "../store/batches/changes.ts"
import { recordFailedBatch, recordSameBatch } from "../store/batches/failed.ts"
import { replayBatch } from "../store/batches/replay.ts"
import { replayScores, writeScores } from "../store/batches/scores.ts"
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

const write = (db: Database, batch: NewBatch | NewScores): Promise<WrittenBatch> =>
  isScores(batch) ? writeScores(db, batch) : writeBatch(db, batch)

const replay = (db: Database, batch: NewBatch | NewScores): Promise<WrittenBatch | undefined> =>
  isScores(batch) ? replayScores(db, batch) : replayBatch(db, batch)

/**
 * Stores a batch of signals or scores, or returns the stored answer when its idempotency key was used for the
 * same request. When a queued batch has the key, it is stored now under its own transaction id, so that its
 * message later finds it stored.
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
  batch: NewBatch | NewScores,
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

async function storeNow(context: IngestContext, batch: NewBatch | NewScores): Promise<WrittenBatch> {
  const { db } = context
  const queued = await queuedUnderKey(context, batch)
  if (queued !== undefined && queued !== batch.transactionId) {
    const written = await write(db, { ...batch, transactionId: queued })
    if (written.state === "stored") return { ...written, replayed: true }
    // None of the queued batch could be stored, so its key is free again.
  }
  return write(db, batch)
}

/**
 * Enters a refused batch as failed, so that its message or object is never stored.
 *
 * @returns the batch, where its message was stored in the meantime
 * @throws the refusal, or another error
 */
async function denyQueued(db: Database, batch: NewBatch | NewScores, error: unknown): Promise<WrittenBatch> {
  const refusal = refusalOf(error, batch)
  if (!refusal) throw error
  await recordFailedBatch(db, batch, refusal)
  const written = await replay(db, { ...batch, idempotency: undefined })
  if (written?.state === "stored") return written
  throw error
}

/** The reason and the failures of a batch that cannot be stored; undefined for an error of another kind. */
function refusalOf(
  error: unknown,
  batch: NewBatch | NewScores,
): { reason: string; failures: Failure[] } | undefined {
  if (error instanceof BatchRefused) {
    const what = isScores(batch) ? "The signals of scores are not stored" : "The database refused signals"
    return { reason: `${what} of an all-or-nothing batch.`, failures: error.failures }
  }
  if (error instanceof IdempotencyKeyReused)
    return { reason: "This Idempotency-Key had been used before with another request.", failures: [] }
}

/**
 * Stores a batch whose caller already has the answer. The ledger records the outcome. A score that cannot be
 * stored becomes a dead letter, too.
 *
 * @returns counts without the failures that were known when the batch was accepted
 * @throws {BatchInDoubt} the batch may be stored; a retry is safe
 * @throws {DatabaseError} nothing was stored; a retry is safe
 * @throws {WrongOutcome} it is stored; a retry finds it in the ledger
 */
export async function storeAcceptedBatch(
  { db }: Pick<IngestContext, "db">,
  batch: NewBatch | NewScores,
): Promise<Added> {
  try {
    const written = isScores(batch)
      ? await writeScores(db, batch, { keepsFailed: true })
      : await writeBatch(db, batch)
    const { state, failures, replayed, isNew, transactionId } = written
    // An earlier delivery of its message entered the failure, and counted it.
    if (state === "failed") return NOTHING_ADDED
    if (isNew) {
      assertOutcome(transactionId, written, batch.plan.total, { isAscending: !isScores(batch) })
      return addedBy(batch, written)
    }
    // Its signals were counted when they were stored. The attempt that entered it may have ended before its
    // changes, if it was one of an earlier version.
    if (!isScores(batch)) await repeatChanges(db, [withoutFailed(batch, failures)])
    if (replayed) await recordSameBatch(db, batch, transactionId)
    return NOTHING_ADDED
  } catch (error) {
    const refusal = refusalOf(error, batch)
    if (!refusal) throw error
    await recordFailedBatch(db, batch, refusal)
    const failed = batch.plan.rows.length
    if (isScores(batch)) return { ...NOTHING_ADDED, scores: { ...NO_SCORES, failed } }
    const codes =
      error instanceof BatchRefused
        ? countsWithRest(countCodes(refusal.failures), failed, "batch_rejected")
        : new Map([["idempotency_key_reused", failed]])
    return { ...NOTHING_ADDED, failed, codes }
  }
}

function addedBy(batch: NewBatch | NewScores, written: WrittenBatch): Added {
  const before = new Set(batch.plan.failures.map(({ index }) => index))
  const failed = written.failures.filter(({ index }) => !before.has(index))
  if (isScores(batch)) return { ...NOTHING_ADDED, scores: countScores({ ...written, failures: failed }) }
  const { stored, duplicates } = written
  return {
    ...NOTHING_ADDED,
    stored: stored.length - duplicates,
    duplicates,
    failed: failed.length,
    sources: countNew(batch.plan.rows, stored),
    codes: countCodes(failed),
  }
}
