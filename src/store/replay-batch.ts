import { sql } from "drizzle-orm"
import type { StoredId } from "../signals/answer.ts"
import type { SignalRow } from "../signals/plan.ts"
import type { Failure } from "../signals/responses.ts"
import type { Inserted, NewBatch, WrittenBatch } from "./batch.ts"
import type { Database } from "./connection.ts"
import { IdempotencyKeyReused, isSameRequest, KEY_LIFETIME_DAYS } from "./idempotency.ts"
import { batches, signals } from "./schema.ts"

const KEY_LIFETIME = sql.raw(`interval '${KEY_LIFETIME_DAYS} days'`)

interface LedgerRow {
  transaction_id: string
  state: "stored" | "failed"
  request_hash: string | null
  failures: Failure[]
  expired: boolean
  /** `[id, dedupe_key]` of each signal the batch stored, in batch order. */
  stored: [number, string | null][] | null
}

/**
 * What became of a batch that the ledger already has: under its transaction id, when an earlier attempt's answer was lost, or under
 * its caller's idempotency key. Undefined when there is no such row, or there was one whose key has expired and is released now.
 *
 * @throws {IdempotencyKeyReused} the key stands for another request
 */
export async function replayBatch(db: Database, batch: NewBatch): Promise<WrittenBatch | undefined> {
  const { transactionId, idempotency, plan } = batch
  const [ledger] = await db.query<LedgerRow>(sql`
    select
      transaction_id, state, request_hash, failures, created_at < now() - ${KEY_LIFETIME} as expired,
      (
        -- Ids rise in batch order and lie between the batch's first and last: a range of the primary key, no index of its own.
        select json_agg(json_build_array(id, dedupe_key) order by id) from ${signals}
        where id between first_signal_id and last_signal_id and ${signals.transactionId} = ${batches.transactionId}
      ) as stored
    from ${batches}
    where transaction_id = ${transactionId}::uuid or (caller = ${batch.caller} and idempotency_key = ${idempotency?.key ?? null})`)
  if (!ledger) return undefined

  const replayed = ledger.transaction_id !== transactionId
  if (replayed && ledger.expired) {
    await releaseExpiredKeys(db)
    return undefined
  }
  if (replayed && !isSameRequest(ledger.request_hash, idempotency?.requestHash)) throw new IdempotencyKeyReused()
  const { transaction_id, state, failures } = ledger
  if (state === "failed") return { transactionId: transaction_id, state, replayed, failures, stored: [], duplicates: 0 }
  const failed = new Set(failures.map(({ index }) => index))
  const rows = alignIds(
    plan.rows.filter((row) => !failed.has(row.index)),
    ledger.stored ?? [],
  )
  const stored = await withDuplicates(db, rows)
  return { transactionId: transaction_id, state, replayed, failures, stored, duplicates: countDuplicates(stored) }
}

/** Gives each row its id: both are in batch order, and a row was passed over exactly when another signal held its dedupe_key. */
function alignIds(rows: readonly SignalRow[], stored: readonly [id: number, dedupeKey: string | null][]): Inserted["rows"] {
  let next = 0
  return rows.map((row) => {
    const [id, dedupeKey] = stored[next] ?? []
    if (id === undefined || dedupeKey !== row.dedupeKey) return { row, id: undefined }
    next++
    return { row, id }
  })
}

/** Rows of a committed batch with their ids: a row without one repeats a dedupe_key and gets the id of the signal that holds it. */
export async function withDuplicates(db: Database, rows: Inserted["rows"]): Promise<StoredId[]> {
  const repeated = new Set<string>()
  for (const { row, id } of rows) if (id === undefined && row.dedupeKey !== null) repeated.add(row.dedupeKey)
  const holders = repeated.size > 0 ? await idsOfDedupeKeys(db, [...repeated]) : new Map<string, number>()
  return rows.map(({ row, id }) => ({
    index: row.index,
    id: id ?? holders.get(row.dedupeKey ?? "") ?? null,
    duplicate: id === undefined,
  }))
}

export const countDuplicates = (stored: readonly StoredId[]) => stored.filter(({ duplicate }) => duplicate).length

async function idsOfDedupeKeys(db: Database, keys: string[]): Promise<Map<string, number>> {
  const found = await db.query<{ dedupe_key: string; id: string }>(
    sql`select dedupe_key, id from ${signals} where dedupe_key = any(${sql.param(keys)}::text[])`,
  )
  return new Map(found.map(({ dedupe_key, id }) => [dedupe_key, Number(id)]))
}

/** Ends every idempotency key past its lifetime; the ledger rows stay. Run by the hour, and when an expired key is met. */
export async function releaseExpiredKeys(db: Database): Promise<void> {
  await db.query(sql`
    update ${batches} set idempotency_key = null, request_hash = null
    where idempotency_key is not null and created_at < now() - ${KEY_LIFETIME}`)
}
