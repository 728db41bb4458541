import { sql } from "drizzle-orm"
import type { StoredId } from "../signals/answer.ts"
import type { SignalRow } from "../signals/plan.ts"
import type { Failure } from "../signals/responses.ts"
import type { Database } from "./connection.ts"
import { batches, signals } from "./schema.ts"
import type { Inserted, NewBatch, WrittenBatch } from "./write-batch.ts"

/** How long an idempotency key stands for its first request. */
const KEY_LIFETIME = sql.raw("interval '7 days'")

/** The caller used this idempotency key for another request. */
export class IdempotencyKeyReused extends Error {
  constructor() {
    super("the idempotency key stands for another request")
  }
}

interface LedgerRow {
  transaction_id: string
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
      transaction_id, request_hash, failures, created_at < now() - ${KEY_LIFETIME} as expired,
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
  if (replayed && ledger.request_hash !== idempotency?.requestHash) throw new IdempotencyKeyReused()
  const failed = new Set(ledger.failures.map(({ index }) => index))
  const rows = alignIds(
    plan.rows.filter((row) => !failed.has(row.index)),
    ledger.stored ?? [],
  )
  return { transactionId: ledger.transaction_id, replayed, failures: ledger.failures, stored: await withDuplicates(db, rows) }
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
