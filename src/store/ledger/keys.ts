import { sql } from "drizzle-orm"
import { KEY_LIFETIME_DAYS } from "../../signals/rules.ts"
import { type Database, withRetries } from "../database/connection.ts"
import { batches } from "../database/schema.ts"

export const KEY_LIFETIME_MS = KEY_LIFETIME_DAYS * 24 * 60 * 60 * 1000

/** Whether a stored hash belongs to the request of `given`. */
export const isSameRequest = (stored: string | null, given: string | undefined): boolean =>
  stored !== null && stored === given

/** Whether the idempotency key of a ledger row has expired. */
export const KEY_EXPIRED = sql`created_at < now() - ${sql.raw(`interval '${KEY_LIFETIME_DAYS} days'`)}`

/** With more than about 50,000 rows, Postgres would read the whole ledger. */
const STEP_ROWS = 5_000

/**
 * Releases expired idempotency keys, oldest first, in steps that commit one by one, until the deadline of
 * `db`. The ledger rows stay. The next call continues.
 *
 * @returns the number of released keys
 * @throws {DatabaseError} earlier steps are done
 */
export async function releaseExpiredKeys(db: Database): Promise<number> {
  let released = 0
  // Each step starts where the last one ended: the index entries before are dead, and reading them would take
  // longer each time.
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
        -- Does not wait for a request that releases its own key.
        for update skip locked
      ))
      returning created_at
    )
    select count(*)::int4 as rows, max(created_at)::text as newest from released`)
  return { rows: step?.rows ?? 0, newest: step?.newest ?? from }
}

/** Releases the key of one ledger row if it has expired. A request calls it that needs the key. */
export async function releaseExpiredKey(db: Database, transactionId: string): Promise<void> {
  await db.query(sql`
    update ${batches} set idempotency_key = null, request_hash = null
    where transaction_id = ${transactionId}::uuid and idempotency_key is not null and ${KEY_EXPIRED}`)
}
