import { type SQL, sql } from "drizzle-orm"
import { uuidv7 } from "uuidv7"
import type { ScoreRow } from "../../scores/plan.ts"
import { recordedFailure } from "../../signals/failures.ts"
import type { Failure } from "../../signals/responses.ts"
import { type Database, NOW, withRetries } from "../database/connection.ts"
import { DatabaseError } from "../database/errors.ts"
import { deadLetters } from "../database/schema.ts"
import {
  BatchInDoubt,
  BatchRefused,
  type Inserted,
  insertedOf,
  type NewScores,
  type WrittenBatch,
} from "./batch.ts"
import { countDuplicates, replayBatch } from "./replay.ts"

/** The scores that are kept of one signal. */
const MAX_SCORES = 1000

/**
 * Stores a batch of scores exactly once: its ledger row, the scores, and the values of their signals in one
 * statement, retried after transient errors under the same transaction id.
 *
 * @param options.keepsFailed whether a score that cannot be stored becomes a dead letter, in the same
 *   statement: its sender does not read the outcome. A score of a deleted signal is not kept
 * @returns as for a batch of signals; a duplicate is a score that was stored before
 * @throws {BatchRefused} `allOrNothing`, and a signal is not stored: nothing was changed
 * @throws {IdempotencyKeyReused} the caller's key was used for another request
 * @throws {BatchInDoubt} the deadline passed and an attempt may have stored it
 * @throws {DatabaseError} nothing was stored
 */
export async function writeScores(
  db: Database,
  batch: NewScores,
  { keepsFailed = false }: { keepsFailed?: boolean } = {},
): Promise<WrittenBatch> {
  try {
    return await withRetries(db, () => writeOnce(db, batch, keepsFailed))
  } catch (error) {
    throw error instanceof DatabaseError && error.mayHaveRun ? new BatchInDoubt(batch, error) : error
  }
}

async function writeOnce(db: Database, batch: NewScores, keepsFailed: boolean): Promise<WrittenBatch> {
  const parts = scoresIn([batch], { keepsFailed })
  const statement = sql`
    with ${parts} select ids, refusals, ${NOW} as received_at from scored`
  const [written] = await db.query<WrittenScores>(statement).catch((error) => {
    throw refusalOf(error) ?? error
  })
  if (!written) return replay(db, batch)
  const { receivedAt, rows, failures } = insertedScores(batch, written)
  return {
    transactionId: batch.transactionId,
    receivedAt,
    state: "stored",
    replayed: false,
    isNew: true,
    failures,
    stored: rows,
    duplicates: countDuplicates(rows),
  }
}

/** What `scoresIn` returns for each batch that was new, with the time of the transaction. */
export interface WrittenScores {
  ids: string | null
  refusals: Failure[]
  received_at: string
}

/** The result of a batch of scores whose ledger row a statement entered. */
export function insertedScores({ plan }: NewScores, written: WrittenScores): Inserted {
  const inserted = insertedOf(plan, written.received_at, written.ids)
  const refused = written.refusals.map(recordedFailure)
  return { ...inserted, failures: [...inserted.failures, ...refused].sort((a, b) => a.index - b.index) }
}

/** The SQLSTATE of the function after it rolled back an all-or-nothing batch. DETAIL has the failures. */
const ALL_OR_NOTHING = "P0A0N"

const refusalOf = (error: unknown): BatchRefused | undefined =>
  error instanceof DatabaseError && error.reason === ALL_OR_NOTHING
    ? new BatchRefused((JSON.parse(error.detail ?? "[]") as Failure[]).map(recordedFailure))
    : undefined

/**
 * The parts of a statement that store batches of scores: `scored` has `transaction_id`, `ids` and `refusals`
 * of each batch that the ledger did not have.
 *
 * @param options.after a condition that is read first, so that the scores come after other parts
 */
export function scoresIn(
  batches: readonly NewScores[],
  { keepsFailed, after = sql`true` }: { keepsFailed: boolean; after?: SQL },
): SQL {
  const calls = batches.map(
    (batch) => sql`
      select ${batch.transactionId}::uuid as transaction_id, ids, refusals from ${storeScores(batch)} where ${after}`,
  )
  const scored = sql`scored as materialized (${sql.join(calls, sql` union all`)})`
  return keepsFailed ? sql`${scored}, scores_kept as (${failedInsert(batches)})` : scored
}

const list = <Row>(rows: readonly Row[], value: (row: Row) => string | number | null) =>
  sql.param(rows.map(value))

function storeScores({ plan, transactionId, caller, idempotency, allOrNothing }: NewScores): SQL {
  const { rows, failures, total } = plan
  return sql`store_scores(
      ${transactionId}::uuid, ${caller}, ${idempotency?.key ?? null}, ${idempotency?.requestHash ?? null},
      ${total}::int4, ${JSON.stringify(failures)}::jsonb, ${allOrNothing}::bool, ${MAX_SCORES}::int4,
      ${list(rows, ({ index }) => index)}::int4[], ${list(rows, ({ signalId }) => signalId)}::int8[],
      ${list(rows, ({ dedupeKey }) => dedupeKey)}::text[], ${list(rows, ({ scoredAt }) => scoredAt)}::timestamptz[],
      ${list(rows, ({ scorer }) => scorer)}::text[], ${list(rows, ({ signalScore }) => signalScore)}::float8[],
      ${list(rows, ({ emotionalTone }) => emotionalTone)}::float8[],
      ${list(rows, ({ escalateFlag }) => escalateFlag)}::int2[]
    )`
}

/** Inserts the dead letters of the scores that `scored` could not store. */
function failedInsert(batches: readonly NewScores[]): SQL {
  const rows = batches.flatMap(({ transactionId, caller, plan }) =>
    plan.rows.map((row) => ({ transactionId, caller, row })),
  )
  return sql`
    insert into ${deadLetters} (
      transaction_id, index, source, caller, reason, code, field, record, truncated, replay_transaction_id
    )
    select
      sent.transaction_id, sent.index, 'score', sent.caller, failure ->> 'error', failure ->> 'code', failure ->> 'field',
      sent.record, false, sent.replay_id
    from scored, jsonb_array_elements(refusals) as failure, unnest(
      ${list(rows, ({ transactionId }) => transactionId)}::uuid[], ${list(rows, ({ row }) => row.index)}::int4[],
      ${list(rows, ({ caller }) => caller)}::text[], ${list(rows, ({ row }) => scoreRecord(row))}::text[],
      ${list(rows, () => uuidv7())}::uuid[]
    ) as sent (transaction_id, index, caller, record, replay_id)
    where sent.transaction_id = scored.transaction_id and sent.index = (failure ->> 'index')::int4
      and failure ->> 'code' <> 'deleted_signal'
    on conflict do nothing`
}

/** A score as the record of its dead letter, which a replay reads again. */
export const scoreRecord = (score: Omit<ScoreRow, "index">): string =>
  JSON.stringify({
    ...(score.signalId !== null && { signal_id: score.signalId }),
    ...(score.dedupeKey !== null && { dedupe_key: score.dedupeKey }),
    signal_score: score.signalScore,
    emotional_tone: score.emotionalTone,
    escalate_flag: score.escalateFlag,
    scored_at: score.scoredAt,
    scorer: score.scorer,
  })

/**
 * The outcome that the ledger has of a batch of scores; undefined when it has none. A score that was stored
 * before has a negative id there, and one that waits none.
 *
 * @throws {IdempotencyKeyReused} the key was used for another request
 */
export async function replayScores(db: Database, batch: NewScores): Promise<WrittenBatch | undefined> {
  const ledger = await replayBatch(db, { ...batch, plan: { ...batch.plan, rows: [] } })
  const stored = ledger?.stored.map(({ index, id }) => ({
    index,
    id: id === null ? null : Math.abs(id),
    duplicate: id !== null && id < 0,
  }))
  return ledger && stored && { ...ledger, stored, duplicates: countDuplicates(stored) }
}

async function replay(db: Database, batch: NewScores): Promise<WrittenBatch> {
  try {
    const ledger = await replayScores(db, batch)
    // The idempotency key that prevented the write has expired: the next attempt can write.
    if (!ledger) throw new DatabaseError("transient", "ledger row gone", false)
    return ledger
  } catch (error) {
    // The ledger has a row, so an error no longer means that nothing was stored.
    throw error instanceof DatabaseError && error.reason !== "ledger row gone" ? error.withDoubt(true) : error
  }
}
