import { type SQL, sql } from "drizzle-orm"
import type { ScorePlan, ScoreRow } from "../../scores/plan.ts"
import { recordedFailure } from "../../signals/failures.ts"
import type { Failure } from "../../signals/responses.ts"
import { BatchInDoubt, BatchRefused, insertedOf, type NewBatch, type WrittenBatch } from "../batches/batch.ts"
import { countDuplicates, replayBatch } from "../batches/replay.ts"
import { type Database, NOW, withRetries } from "../database/connection.ts"
import { DatabaseError } from "../database/errors.ts"

/** The scores that are kept of one signal. */
const MAX_SCORES = 1000

/** A batch of scores to store. */
export type NewScores = Omit<NewBatch, "plan"> & { plan: ScorePlan }

/**
 * Stores a batch of scores exactly once: its ledger row, the scores, and the values of their signals in one
 * statement, retried after transient errors under the same transaction id.
 *
 * @returns as for a batch of signals; a duplicate is a score that was stored before
 * @throws {BatchRefused} `allOrNothing`, and a signal is not stored: nothing was changed
 * @throws {IdempotencyKeyReused} the caller's key was used for another request
 * @throws {BatchInDoubt} the deadline passed and an attempt may have stored it
 * @throws {DatabaseError} nothing was stored
 */
export async function writeScores(db: Database, batch: NewScores): Promise<WrittenBatch> {
  try {
    return await withRetries(db, () => writeOnce(db, batch))
  } catch (error) {
    throw error instanceof DatabaseError && error.mayHaveRun ? new BatchInDoubt(batch, error) : error
  }
}

async function writeOnce(db: Database, batch: NewScores): Promise<WrittenBatch> {
  const [written] = await db.query<Written>(statement(batch)).catch((error) => {
    throw refusalOf(error) ?? error
  })
  if (!written) return replay(db, batch)
  const { failures, rows } = insertedOf(batch.plan, written.received_at, written.ids)
  return {
    transactionId: batch.transactionId,
    receivedAt: written.received_at,
    state: "stored",
    replayed: false,
    isNew: true,
    failures: [...failures, ...written.refusals.map(recordedFailure)].sort((a, b) => a.index - b.index),
    stored: rows,
    duplicates: countDuplicates(rows),
  }
}

interface Written {
  ids: string | null
  refusals: Failure[]
  received_at: string
}

/** The SQLSTATE of the function after it rolled back an all-or-nothing batch. DETAIL has the failures. */
const ALL_OR_NOTHING = "P0A0N"

const refusalOf = (error: unknown): BatchRefused | undefined =>
  error instanceof DatabaseError && error.reason === ALL_OR_NOTHING
    ? new BatchRefused((JSON.parse(error.detail ?? "[]") as Failure[]).map(recordedFailure))
    : undefined

function statement({ plan, transactionId, caller, idempotency, allOrNothing }: NewScores): SQL {
  const { rows, failures, total } = plan
  const list = (value: (row: ScoreRow) => string | number | null) => sql.param(rows.map(value))
  return sql`
    select ids, refusals, ${NOW} as received_at from store_scores(
      ${transactionId}::uuid, ${caller}, ${idempotency?.key ?? null}, ${idempotency?.requestHash ?? null},
      ${total}::int4, ${JSON.stringify(failures)}::jsonb, ${allOrNothing}::bool, ${MAX_SCORES}::int4,
      ${list(({ index }) => index)}::int4[], ${list(({ signalId }) => signalId)}::int8[],
      ${list(({ dedupeKey }) => dedupeKey)}::text[], ${list(({ scoredAt }) => scoredAt)}::timestamptz[],
      ${list(({ scorer }) => scorer)}::text[], ${list(({ signalScore }) => signalScore)}::float8[],
      ${list(({ emotionalTone }) => emotionalTone)}::float8[], ${list(({ escalateFlag }) => escalateFlag)}::int2[]
    )`
}

/** The outcome in the ledger: a score that was stored before has a negative id, and one that waits none. */
async function replay(db: Database, batch: NewScores): Promise<WrittenBatch> {
  try {
    const ledger = await replayBatch(db, { ...batch, plan: { ...batch.plan, rows: [] } })
    // The idempotency key that prevented the write has expired: the next attempt can write.
    if (!ledger) throw new DatabaseError("transient", "ledger row gone", false)
    const stored = ledger.stored.map(({ index, id }) => ({
      index,
      id: id === null ? null : Math.abs(id),
      duplicate: id !== null && id < 0,
    }))
    return { ...ledger, stored, duplicates: countDuplicates(stored) }
  } catch (error) {
    // The ledger has a row, so an error no longer means that nothing was stored.
    throw error instanceof DatabaseError && error.reason !== "ledger row gone" ? error.withDoubt(true) : error
  }
}
