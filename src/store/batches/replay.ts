import { sql } from "drizzle-orm"
import type { StoredId } from "../../signals/answer.ts"
import { recordedFailure } from "../../signals/failures.ts"
import type { BatchPlan } from "../../signals/plan.ts"
import type { Failure } from "../../signals/responses.ts"
import { type Database, utc } from "../database/connection.ts"
import { IdempotencyKeyReused } from "../database/errors.ts"
import { batches, dedupeKeys } from "../database/schema.ts"
import { isSameRequest, KEY_EXPIRED, releaseExpiredKey } from "../ledger/keys.ts"
import { decodeSignalIds } from "../ledger/read.ts"
import type { NewBatch, WrittenBatch } from "./batch.ts"

interface ReplayedRow {
  transaction_id: string
  received_at: string
  state: "stored" | "failed"
  total_count: number
  request_hash: string | null
  failures: Failure[]
  expired: boolean
  signal_ids: string
  /** `[dedupe_key, id]` of the signals that hold the batch's keys, or held them. */
  holders: [string, number][] | null
}

/**
 * Reads the outcome of a batch that the ledger already has: under its transaction id, when the answer of an
 * earlier attempt was lost, or under its caller's idempotency key. Undefined when the ledger has no such row,
 * or released one whose key has expired.
 *
 * @throws {IdempotencyKeyReused} the key was used for another request
 */
export async function replayBatch(db: Database, batch: NewBatch): Promise<WrittenBatch | undefined> {
  const { transactionId, idempotency, plan } = batch
  const keys = [...new Set(plan.rows.map(({ dedupeKey }) => dedupeKey))].filter((key) => key !== null)
  const [ledger] = await db.query<ReplayedRow>(sql`
    select
      transaction_id, state, total_count, request_hash, failures, ${KEY_EXPIRED} as expired, signal_ids,
      -- Its signals have the same time: both are the time of the transaction.
      ${utc(sql`created_at`)} as received_at,
      (
        select json_agg(json_build_array(dedupe_key, signal_id)) from unnest(${sql.param(keys)}::text[]) as dedupe_key
        join ${dedupeKeys} on key_hash = dedupe_key_hash(dedupe_key)
      ) as holders
    from ${batches}
    where transaction_id = ${transactionId}::uuid or (caller = ${batch.caller} and idempotency_key = ${idempotency?.key ?? null})
    -- A batch that was recorded without its key has its own row beside the row with the key.
    order by transaction_id = ${transactionId}::uuid desc
    limit 1`)
  if (!ledger) return undefined

  const replayed = ledger.transaction_id !== transactionId
  if (replayed && ledger.expired) {
    await releaseExpiredKey(db, ledger.transaction_id)
    return undefined
  }
  if (replayed && !isSameRequest(ledger.request_hash, idempotency?.requestHash))
    throw new IdempotencyKeyReused()
  const { transaction_id, state, received_at: receivedAt } = ledger
  const failures = ledger.failures.map(recordedFailure)
  const stored = state === "failed" ? [] : storedIds(ledger, plan)
  const outcome = { transactionId: transaction_id, receivedAt, state, replayed, isNew: false }
  return { ...outcome, failures, stored, duplicates: countDuplicates(stored) }
}

/**
 * Whether the ledger has the key of this batch, for any request. It does not retry.
 *
 * @throws {DatabaseError} the database did not answer within `timeoutMs`
 */
export async function hasIdempotencyKey(
  db: Database,
  batch: Pick<NewBatch, "caller" | "idempotency">,
  timeoutMs: number,
): Promise<boolean> {
  const statement = sql`
    select 1 from ${batches}
    where caller = ${batch.caller} and idempotency_key = ${batch.idempotency?.key ?? null} and not ${KEY_EXPIRED}`
  return (await db.query(statement, { timeoutMs })).length > 0
}

/**
 * Returns the ids by the ledger, independently of later deletions and of the rules of the plan: only the
 * dedupe_keys come from the plan. The signal that holds a key shows whether a row was a duplicate; if no
 * signal holds it any more, the row's own id is used.
 */
function storedIds({ failures, total_count, signal_ids, holders }: ReplayedRow, plan: BatchPlan): StoredId[] {
  const failed = new Set(failures.map(({ index }) => index))
  const keys = new Map(plan.rows.map(({ index, dedupeKey }) => [index, dedupeKey]))
  const ids = decodeSignalIds(signal_ids)
  const holderOf = new Map<string | null, number>(holders)
  return Array.from({ length: total_count }, (_, index) => index)
    .filter((index) => !failed.has(index))
    .map((index, position) => {
      const own = ids[position] ?? 0
      const id = holderOf.get(keys.get(index) ?? null) ?? own
      return { index, id: id || null, duplicate: own === 0 || id !== own }
    })
}

export const countDuplicates = (stored: readonly Pick<StoredId, "duplicate">[]) =>
  stored.filter(({ duplicate }) => duplicate).length
