import { sql } from "drizzle-orm"
import type { Failure } from "../signals/responses.ts"
import type { NewBatch } from "./batch.ts"
import { type Database, withRetries } from "./connection.ts"
import { batches } from "./schema.ts"

/**
 * Enters into the ledger that an acknowledged batch could not be stored, and why. It carries no idempotency key: that one is free, or another's.
 *
 * @throws {DatabaseError} it may be entered; call it again
 */
export async function recordFailedBatch(
  db: Database,
  batch: NewBatch,
  why: { reason: string; failures: Failure[] },
): Promise<void> {
  const { transactionId, caller, plan } = batch
  await withRetries(db, () =>
    db.query(sql`
      insert into ${batches} (transaction_id, caller, state, total_count, failed_count, failures, reason)
      values (
        ${transactionId}::uuid, ${caller}, 'failed', ${plan.total}::int4, ${plan.total}::int4, ${JSON.stringify(why.failures)}::jsonb, ${why.reason}
      )
      on conflict do nothing`),
  )
}
