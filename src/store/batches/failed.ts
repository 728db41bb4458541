import { sql } from "drizzle-orm"
import type { Failure } from "../../signals/responses.ts"
import { type Database, withRetries } from "../database/connection.ts"
import { batches } from "../database/schema.ts"
import { isScores, type NewBatch, type NewScores } from "./batch.ts"

/**
 * Records in the ledger that an acknowledged batch could not be stored, with the reason. The row has no
 * idempotency key, which is free or belongs to another batch.
 *
 * @throws {DatabaseError} it may be entered; call it again
 */
export async function recordFailedBatch(
  db: Database,
  batch: NewBatch | NewScores,
  why: { reason: string; failures: Failure[] },
): Promise<void> {
  const { transactionId, caller, plan } = batch
  await withRetries(db, () =>
    db.query(sql`
      insert into ${batches} (transaction_id, caller, kind, state, total_count, failed_count, failures, reason)
      values (
        ${transactionId}::uuid, ${caller}, ${isScores(batch) ? "scores" : "signals"}, 'failed', ${plan.total}::int4, ${plan.total}::int4, ${JSON.stringify(why.failures)}::jsonb, ${why.reason}
      )
      on conflict do nothing`),
  )
}

/**
 * Records in the ledger that an acknowledged batch was stored as another one with the same idempotency key
 * and request. Counts, failures and signals are those of the other batch.
 *
 * @throws {DatabaseError} it may be entered; call it again
 */
export async function recordSameBatch(
  db: Database,
  { transactionId }: Pick<NewBatch, "transactionId">,
  holder: string,
): Promise<void> {
  const reason = `The same request was stored before under this Idempotency-Key, as batch ${holder}.`
  await withRetries(db, () =>
    db.query(sql`
      insert into ${batches} (
        transaction_id, caller, kind, state, total_count, failed_count, failures, reason,
        first_signal_id, last_signal_id, signal_ids
      )
      select
        ${transactionId}::uuid, caller, kind, state, total_count, failed_count, failures, ${reason},
        first_signal_id, last_signal_id, signal_ids
      from ${batches} where transaction_id = ${holder}::uuid
      on conflict do nothing`),
  )
}
