import { sql } from "drizzle-orm"
import { type Database, withRetries } from "./connection.ts"
import { KEY_LIFETIME_DAYS } from "./idempotency.ts"
import { batches } from "./schema.ts"

/** Whether the idempotency key of a ledger row stands for its request no longer. */
export const KEY_EXPIRED = sql`created_at < now() - ${sql.raw(`interval '${KEY_LIFETIME_DAYS} days'`)}`

/** From about 50,000 rows on, Postgres would read the whole ledger for them. */
const STEP_ROWS = 5_000

/**
 * Ends the idempotency keys past their lifetime, oldest first, in steps that commit by themselves, until the deadline of `db`; the
 * ledger rows stay. What is left then is for the next call.
 *
 * @returns the number of keys that ended
 * @throws {DatabaseError} the steps before are done
 */
export async function releaseExpiredKeys(db: Database): Promise<number> {
  let released = 0
  // Each step begins where the one before ended: the entries before are dead, and walking over them would cost more each time.
  let from = "-infinity"
  while (Date.now() < db.deadlineAt) {
    const step = await withRetries(db, () => releaseStep(db, from))
    released += step.rows
    if (step.rows < STEP_ROWS) break
    from = step.newest
  }
  return released
}

async function releaseStep(db: Database, from: string): Promise<{ rows: number; newest: string }> {
  const [step] = await db.query<{ rows: number; newest: string | null }>(sql`
    with released as (
      update ${batches} set idempotency_key = null, request_hash = null
      where ctid = any(array(
        select ctid from ${batches}
        where idempotency_key is not null and ${KEY_EXPIRED} and created_at >= ${from}::timestamptz
        order by created_at
        limit ${STEP_ROWS}::int4
        -- A request that releases its own key meanwhile is not waited for.
        for update skip locked
      ))
      returning created_at
    )
    select count(*)::int4 as rows, max(created_at)::text as newest from released`)
  return { rows: step?.rows ?? 0, newest: step?.newest ?? from }
}

/** Ends the key of one ledger row, if it is past its lifetime: what a request does that meets it. */
export async function releaseExpiredKey(db: Database, transactionId: string): Promise<void> {
  await db.query(sql`
    update ${batches} set idempotency_key = null, request_hash = null
    where transaction_id = ${transactionId}::uuid and idempotency_key is not null and ${KEY_EXPIRED}`)
}
