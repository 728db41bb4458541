import { type SQL, sql } from "drizzle-orm"
import type { Database } from "../connection.ts"
import { deadLetters, signals } from "../schema.ts"

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
      // The order of arrival is that of the ids but for the length of a statement, so that the first young
      // signal ends the walk.
      sql`
      with step as materialized (
        select id, signal_arrival(received_at, transaction_id) < ${ago(days)} as is_expired from ${signals}
        where id > ${from}::int8 order by id limit ${STEP_ROWS}::int4
      ), gone as (
        delete from ${signals} where id = any(array(select id from step where is_expired)) returning id
      )
      select (select count(*) from gone)::int4 as gone, (select max(id)::text from step) as last,
        (select count(*) from gone) = ${STEP_ROWS}::int4 as more`,
  )

/**
 * Deletes the dead letters of more than `days` days ago that were replayed or discarded, as
 * `deleteExpiredSignals` does.
 */
export async function deleteSettledLetters(db: Database, days: number): Promise<number> {
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
