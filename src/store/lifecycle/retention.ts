import { type SQL, sql } from "drizzle-orm"
import type { Database } from "../database/connection.ts"
import { batches, deadLetters, signals, sweepPositions } from "../database/schema.ts"
import { signalScores } from "../database/score-tables.ts"

/** Rows of one statement, which is one transaction. */
const STEP_ROWS = 5_000

const ago = (days: number): SQL => sql`now() - make_interval(days => ${days}::int4)`

/**
 * Drops the partitions of which every signal arrived more than `days` days ago, oldest first, each in a
 * transaction of its own, until the deadline of `db`.
 *
 * @returns how many it dropped
 * @throws {DatabaseError} one that is in use was not dropped; the next call tries it again
 */
export async function dropExpiredPartitions(db: Database, days: number): Promise<number> {
  for (let dropped = 0; ; dropped++) {
    if (Date.now() >= db.deadlineAt) return dropped
    const [row] = await db.query<{ name: string | null }>(
      sql`select drop_expired_partition(${days}::int4) as name`,
    )
    if (!row?.name) return dropped
    console.log(JSON.stringify({ event: "partition_dropped", partition: row.name, retention_days: days }))
  }
}

/**
 * Deletes the signals that arrived more than `days` days ago, in the order of their ids, in steps that commit
 * by themselves, until the deadline of `db`: those of the partition that also has younger ones.
 *
 * @returns how many it deleted
 * @throws {DatabaseError} the steps before are done
 */
export const deleteExpiredSignals = (db: Database, days: number): Promise<number> =>
  inSteps(
    db,
    "0",
    (from) =>
      // Ids rise with arrival to within one statement, so the first young signal ends the scan.
      sql`
      with step as materialized (
        select id, received_at < ${ago(days)} as is_expired from ${signals}
        where id > ${from}::int8 order by id limit ${STEP_ROWS}::int4
      ), gone as (
        delete from ${signals} where id = any(array(select id from step where is_expired)) returning id
      )
      select (select count(*) from gone)::int4 as gone, (select max(id)::text from step) as last,
        (select count(*) from gone) = ${STEP_ROWS}::int4 as more`,
  )

/**
 * Deletes the scores of the signals that went with their partitions, as `deleteExpiredSignals` does. Any
 * other deletion of a signal deletes its scores at once; see drizzle/functions/scores.sql.
 */
export const deleteScoresOfDropped = (db: Database): Promise<number> =>
  inSteps(
    db,
    "0",
    () => sql`
      with gone as (
        delete from ${signalScores} where ctid = any(array(
          select ctid from ${signalScores}
          where signal_id < coalesce((select min(id) from ${signals}), 9223372036854775807)
          order by signal_id limit ${STEP_ROWS}::int4
        ))
        returning signal_id
      )
      select count(*)::int4 as gone, max(signal_id)::text as last, count(*) = ${STEP_ROWS}::int4 as more from gone`,
  )

/**
 * Deletes the dead letters of more than `days` days ago that were replayed or discarded, as
 * `deleteExpiredSignals` does.
 */
export async function deleteSettledDeadLetters(db: Database, days: number): Promise<number> {
  let deleted = 0
  for (const state of ["replayed", "discarded"])
    deleted += await inSteps(
      db,
      "0",
      (from) => sql`
        with step as materialized (
          select id, created_at < ${ago(days)} as is_old from ${deadLetters}
          where state = ${state} and id > ${from}::int8 order by id limit ${STEP_ROWS}::int4
        ), gone as (
          delete from ${deadLetters} where id = any(array(select id from step where is_old)) returning id
        )
        select (select count(*) from gone)::int4 as gone, (select max(id)::text from step) as last,
          (select count(*) from gone) = ${STEP_ROWS}::int4 as more`,
    )
  return deleted
}

interface Step {
  gone: number
  /** Where the next step begins. */
  last: string | null
  more: boolean
}

async function inSteps(db: Database, start: string, statement: (from: string) => SQL): Promise<number> {
  let gone = 0
  let from = start
  while (Date.now() < db.deadlineAt) {
    const [step] = await db.query<Step>(statement(from))
    gone += step?.gone ?? 0
    if (!step?.more || step.last === null) break
    from = step.last
  }
  return gone
}

/** The rows that one statement tests. A statement is one transaction. */
const LEDGER_STEP_ROWS = 1_000

/** The steps of a run that test rows again that an earlier run has tested. */
const PATROL_STEPS = 5

const FIRST = "00000000-0000-0000-0000-000000000000"

export interface LedgerSweep {
  deleted: number
  /** The tested rows. */
  visited: number
}

/**
 * Deletes the ledger rows of more than `days` days ago that have no idempotency key and no signal any more,
 * in steps that commit by themselves, until the deadline of `db`. A run tests the rows whose signals were
 * dropped with their partitions, the rows that became old since the last run, and a few of the others in
 * turn, whose signals may have been erased one by one. Transaction ids sort by time, except for differences
 * between clocks and for the time that a batch waited in the queue.
 *
 * @throws {DatabaseError} the steps before are done
 */
export async function deleteExpiredBatches(db: Database, days: number): Promise<LedgerSweep> {
  const sweep = { deleted: 0, visited: 0 }
  await deleteDropped(db, days, sweep)
  await walkOn(db, { name: "aged_batches", days, sweep })
  await walkOn(db, { name: "batches", days, sweep, steps: PATROL_STEPS, isRound: true })
  return sweep
}

/** All their signals are gone, so no lookup is needed. */
const DROPPED = sql`last_signal_id < coalesce((select min(id) from ${signals}), 9223372036854775807)`

// With "offset 0" each row uses the index. A join with the step would read all signals.
const WITHOUT_SIGNALS = sql`not exists (
  select from ${signals} where id between first_signal_id and last_signal_id and ${signals.transactionId} = step.transaction_id offset 0
)`

/** The oldest rows, until most of a step have signals. */
async function deleteDropped(db: Database, days: number, sweep: LedgerSweep): Promise<void> {
  let from = FIRST
  while (Date.now() < db.deadlineAt) {
    const [step] = await db.query<LedgerStep>(sql`
      with ${stepOf(sql`${from}::uuid`, days)}, ${deleted(DROPPED)}
      select ${COUNTS}, ${lastOf(sql`true`)} as last`)
    if (!count(step, sweep) || isFew(step.deleted) || step.last === null) return
    from = step.last
  }
}

interface Walk {
  /** The row of `sweep_positions` with this walk's position. */
  name: string
  days: number
  sweep: LedgerSweep
  /** The most steps of a run. Default: no limit. */
  steps?: number
  /** Starts over at the end. */
  isRound?: boolean
}

/** Continues a walk over the old rows where the last run stopped. */
async function walkOn(
  db: Database,
  { name, days, sweep, steps = Number.POSITIVE_INFINITY, isRound = false }: Walk,
): Promise<void> {
  const from = sql`coalesce((select position from ${sweepPositions} where name = ${name}), ${FIRST}::uuid)`
  const isEnd = sql`(select count(*) from step where is_old) <= ${LEDGER_STEP_ROWS / 2}::int4`
  const position = isRound ? sql`case when not ${isEnd} then ${lastOf(sql`is_old`)} end` : lastOf(sql`is_old`)
  for (let made = 0; made < steps && Date.now() < db.deadlineAt; made++) {
    const [step] = await db.query<LedgerStep>(sql`
      with ${stepOf(from, days)}, ${deleted(WITHOUT_SIGNALS)}, kept as (
        insert into ${sweepPositions} (name, position)
        select ${name}::text, coalesce(${position}, ${isRound ? sql`${FIRST}::uuid` : from})
        on conflict (name) do update set position = excluded.position
      )
      select ${COUNTS}, null as last`)
    if (!count(step, sweep) || isFew(step.old)) return
  }
}

/**
 * A batch that waited in the queue is younger than its neighbours; so one young row is not the end of the old
 * ones.
 */
const isFew = (rows: number) => rows <= LEDGER_STEP_ROWS / 2

interface LedgerStep extends LedgerSweep {
  old: number
  last: string | null
}

const stepOf = (from: SQL, days: number): SQL => sql`step as materialized (
  select transaction_id, first_signal_id, last_signal_id, idempotency_key, created_at < now() - make_interval(days => ${days}::int4) as is_old
  from ${batches} where transaction_id > ${from} order by transaction_id limit ${LEDGER_STEP_ROWS}::int4
)`

const deleted = (isDead: SQL): SQL => sql`gone as (
  delete from ${batches} where transaction_id = any(array(
    select transaction_id from step where is_old and idempotency_key is null and ${isDead}
  ))
  returning transaction_id
)`

const lastOf = (which: SQL): SQL =>
  sql`(select transaction_id from step where ${which} order by transaction_id desc limit 1)`

const COUNTS = sql`
  (select count(*) from gone)::int4 as deleted, (select count(*) from step)::int4 as visited,
  (select count(*) from step where is_old)::int4 as old`

/** Adds a step to the sum of all. @returns whether there was one */
function count(step: LedgerStep | undefined, sweep: LedgerSweep): step is LedgerStep {
  sweep.deleted += step?.deleted ?? 0
  sweep.visited += step?.visited ?? 0
  return step !== undefined
}
