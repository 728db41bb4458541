import { sql } from "drizzle-orm"
import { uuidv7 } from "uuidv7"
import type { ScoreRow } from "../../scores/plan.ts"
import { scoreRecord, writeScores } from "../batches/scores.ts"
import { type Database, utc } from "../database/connection.ts"
import { dedupeKeys } from "../database/schema.ts"
import { waitingScores } from "../database/score-tables.ts"
import { insertDeadLetters } from "../dead-letters/store.ts"

/** The scores that one step of the sweep moves. */
const STEP_ROWS = 1_000

/** How long a score waits for its signal. */
const WAITING_DAYS = 7

interface WaitingRow extends Omit<ScoreRow, "signalId"> {
  id: string
  caller: string
  transactionId: string
}

const WAITING = sql`
  waiting.id, caller, waiting.transaction_id as "transactionId", waiting.index, dedupe_key as "dedupeKey",
  ${utc(sql`scored_at`)} as "scoredAt", scorer, signal_score as "signalScore", emotional_tone as "emotionalTone",
  escalate_flag as "escalateFlag"`

/**
 * Stores the scores whose signals came after them, until the deadline of `db`, as batches of their callers.
 * The score of a signal that was deleted in the meantime is a failure in the ledger. It can be interrupted at
 * any moment: a score that is moved twice is stored once.
 *
 * @returns how many scores do not wait any more
 * @throws {DatabaseError} the steps before are done
 */
export async function storeArrivedScores(db: Database): Promise<number> {
  let moved = 0
  while (Date.now() < db.deadlineAt) {
    const rows = await db.query<WaitingRow & { signalId: string }>(sql`
      select ${WAITING}, signal_id as "signalId"
      from ${waitingScores} as waiting join ${dedupeKeys} on key_hash = dedupe_key_hash(dedupe_key)
      order by waiting.id limit ${STEP_ROWS}::int4`)
    if (rows.length === 0) break
    for (const [caller, own] of Map.groupBy(rows, (row) => row.caller)) {
      const scores = own.map((row, index): ScoreRow => {
        const { scoredAt, scorer, signalScore, emotionalTone, escalateFlag } = row
        const values = { scoredAt, scorer, signalScore, emotionalTone, escalateFlag }
        return { index, signalId: Number(row.signalId), dedupeKey: null, ...values }
      })
      const plan = { total: scores.length, rows: scores, failures: [] }
      await writeScores(db, {
        kind: "scores",
        transactionId: uuidv7(),
        caller,
        plan,
        allOrNothing: false,
      })
      await deleteWaiting(db, own)
      moved += own.length
    }
  }
  return moved
}

const deleteWaiting = (db: Database, rows: readonly WaitingRow[]) =>
  db.query(sql`delete from ${waitingScores} where id = any(${sql.param(rows.map(({ id }) => id))}::int8[])`)

/**
 * Makes dead letters of the scores that have waited for 7 days, until the deadline of `db`.
 *
 * @returns how many
 * @throws {DatabaseError} the steps before are done
 */
export async function expireWaitingScores(db: Database): Promise<number> {
  let expired = 0
  while (Date.now() < db.deadlineAt) {
    const rows = await db.query<WaitingRow>(sql`
      select ${WAITING} from ${waitingScores} as waiting
      where created_at < now() - ${sql.raw(`interval '${WAITING_DAYS} days'`)}
      order by waiting.id limit ${STEP_ROWS}::int4`)
    if (rows.length === 0) break
    await insertDeadLetters(
      db,
      rows.map((row) => ({
        transactionId: row.transactionId,
        index: row.index,
        source: "score",
        caller: row.caller,
        reason: `No signal with this dedupe_key was stored within ${WAITING_DAYS} days`,
        code: "unknown_signal",
        field: "dedupe_key",
        record: scoreRecord({ ...row, signalId: null }),
      })),
    )
    await deleteWaiting(db, rows)
    expired += rows.length
  }
  return expired
}
