import { type SQL, sql } from "drizzle-orm"
import { type Database, NOW } from "../database/connection.ts"
import { batches, signals } from "../database/schema.ts"
import { type DeadLetter, insertLetters } from "../dead-letters/store.ts"
import { isSuppressed, noneSuppressed, orSuppressed, type Suppressed } from "../lifecycle/suppression.ts"
import { type Inserted, type NewBatch, withIds } from "./batch.ts"
import { encodeColumns, SIGNAL_NAMES, takenKeys, typedColumns, WITH_KEY_TAKEN } from "./statement.ts"

/** A batch, with the delivered records that cannot become signals. */
export interface BatchWrite {
  batch: NewBatch
  letters: readonly DeadLetter[]
}

/**
 * Inserts the ledger rows, signals and dead letters of batches in one statement, all or nothing.
 *
 * A batch with suppressed rows is not inserted; a second statement inserts the others.
 *
 * @returns the results by transaction id, without batches that the ledger already has, by transaction id or
 *   idempotency key
 * @throws {DatabaseError} nothing was stored, unless it may have run
 */
export async function insertMany(
  db: Database,
  writes: readonly BatchWrite[],
): Promise<Map<string, Inserted | Suppressed>> {
  const distinct = distinctWrites(writes)
  const entered = await orSuppressed(db.query<Entered>(insertStatement(distinct)))
  if (isSuppressed(entered)) return insertOthers(db, distinct, entered)
  const plans = new Map(distinct.map(({ batch }) => [batch.transactionId, batch.plan]))
  return new Map(
    entered.flatMap(({ transaction_id, received_at, ids }) => {
      const plan = plans.get(transaction_id)
      return plan ? [[transaction_id, withIds(plan, received_at, ids)]] : []
    }),
  )
}

interface Entered {
  transaction_id: string
  received_at: string
  ids: string | null
}

/** Each attempt has fewer batches, so this ends. */
async function insertOthers(
  db: Database,
  writes: readonly BatchWrite[],
  { suppressed }: Suppressed,
): Promise<Map<string, Inserted | Suppressed>> {
  const refused = new Map<string, Suppressed>()
  let before = 0
  for (const { batch } of writes) {
    const own = [...suppressed].filter(
      ([place]) => place >= before && place < before + batch.plan.rows.length,
    )
    const from = before
    if (own.length > 0)
      refused.set(batch.transactionId, {
        suppressed: new Map(own.map(([place, field]) => [place - from, field])),
      })
    before += batch.plan.rows.length
  }
  const others = writes.filter(({ batch }) => !refused.has(batch.transactionId))
  return new Map([...refused, ...(others.length > 0 ? await insertMany(db, others) : [])])
}

/**
 * Removes repeated batches: twice the same batch in one statement would be one ledger row with twice the
 * signals.
 */
export const distinctWrites = <Write extends BatchWrite>(writes: readonly Write[]): Write[] => [
  ...new Map(writes.map((write) => [write.batch.transactionId, write])).values(),
]

/**
 * The statement of `writeBatch` for many batches, with the rows of each joined to its ledger row. It returns
 * the new ledger rows, each with the ids of its signals in batch order: "" for a duplicate, or null without
 * signals.
 */
function insertStatement(writes: readonly BatchWrite[]): SQL {
  const written = writes.map(({ batch }) => batch)
  const columns = encodeColumns(written.flatMap(({ plan }) => plan.rows))
  const transactionIds = written.flatMap(({ transactionId, plan }) => plan.rows.map(() => transactionId))
  const mayRepeat = written.some(({ plan }) => plan.rows.some((row) => row.dedupeKey !== null))
  const letters = writes.flatMap((write) => write.letters)
  const list = (values: readonly (string | number | null)[]) => sql.param(values)
  return sql`
    with delivery as (
      select * from unnest(
        ${list(written.map(({ transactionId }) => transactionId))}::uuid[], ${list(written.map(({ caller }) => caller))}::text[],
        ${list(written.map(({ plan }) => plan.total))}::int4[], ${list(written.map(({ plan }) => plan.failures.length))}::int4[],
        ${list(written.map(({ plan }) => JSON.stringify(plan.failures)))}::jsonb[],
        ${list(written.map(({ idempotency }) => idempotency?.key ?? null))}::text[],
        ${list(written.map(({ idempotency }) => idempotency?.requestHash ?? null))}::text[]
      ) as delivery (transaction_id, caller, total_count, failed_count, failures, idempotency_key, request_hash)
    ), input as materialized (
      select nextval('signals_id_seq') as id, signal.*
      from unnest(
        ${typedColumns(columns)}, ${list(transactionIds)}::uuid[]
      ) with ordinality as signal (
        ${SIGNAL_NAMES}, transaction_id, position
      )
    ), ledger as (
      insert into ${batches} (
        transaction_id, caller, state, total_count, failed_count, failures, idempotency_key, request_hash,
        first_signal_id, last_signal_id, signal_ids
      )
      select
        transaction_id, caller, 'stored', total_count, failed_count, failures, idempotency_key, request_hash,
        ids.first, ids.last, ids.runs
      from delivery
      left join (
        select transaction_id, min(first) as first, max(last) as last, string_agg(first || ':' || size, ',' order by first) as runs
        from (
          select transaction_id, min(id) as first, max(id) as last, count(*) as size
          from input group by transaction_id, id - position
        ) as run
        group by transaction_id
      ) as ids using (transaction_id)
      where (select ${noneSuppressed(sql`array_agg(input.transaction_id)`)})
      -- Two statements that share keys or batches take their locks in the same order, so that they can't deadlock.
      order by caller, idempotency_key, transaction_id
      on conflict do nothing
      returning transaction_id
    ), ${mayRepeat ? sql`${takenKeys(sql`input join ledger using (transaction_id)`)}, ` : sql``}stored as (
      insert into ${signals} (
        id, transaction_id, ${SIGNAL_NAMES}
      ) overriding system value
      select
        id, transaction_id, ${SIGNAL_NAMES}
      from input join ledger using (transaction_id)
      ${mayRepeat ? WITH_KEY_TAKEN : sql``}
      returning id
    )${letters.length > 0 ? sql`, kept as (${insertLetters(letters, sql`join ledger using (transaction_id)`)})` : sql``}
    select ledger.transaction_id, ${NOW} as received_at,
      string_agg(coalesce(stored.id::text, ''), ',' order by position) filter (where position is not null) as ids
    from ledger left join input using (transaction_id) left join stored using (id)
    group by ledger.transaction_id`
}
