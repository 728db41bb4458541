import { type SQL, sql } from "drizzle-orm"
import { withoutSuppressed } from "../../signals/erasure.ts"
import { type Database, NOW } from "../database/connection.ts"
import { DatabaseError } from "../database/errors.ts"
import { withPartitions } from "../database/partitions.ts"
import { batches, signals } from "../database/schema.ts"
import {
  isSuppressed,
  keepErasedKeys,
  noneSuppressed,
  orSuppressed,
  type Suppressed,
} from "../lifecycle/suppression.ts"
import {
  BatchInDoubt,
  BatchRefused,
  type Inserted,
  insertedOf,
  type NewBatch,
  type WrittenBatch,
} from "./batch.ts"
import { insertByHalves } from "./by-halves.ts"
import { AFTER_ROWS, changedSignals, deletionsIn, hasChanges } from "./changes.ts"
import { insertGrouped } from "./insert-many.ts"
import { countDuplicates, replayBatch } from "./replay.ts"
import {
  type Columns,
  encodeColumns,
  HELD_KEYS,
  OUTCOME,
  SIGNAL_NAMES,
  takenKeys,
  typedColumns,
  WITH_KEY_TAKEN,
} from "./statement.ts"

/**
 * Stores a batch exactly once: its ledger row, its signals and their changes in one statement, retried after
 * transient errors under the same transaction id.
 *
 * @throws {BatchRefused} `allOrNothing`, and the database refused a signal, or one is suppressed
 * @throws {IdempotencyKeyReused} the caller's key was used for another request
 * @throws {BatchInDoubt} the deadline passed and an attempt may have stored it
 * @throws {DatabaseError} nothing was stored
 */
export async function writeBatch(db: Database, batch: NewBatch): Promise<WrittenBatch> {
  const encode = encodeOnce(batch)
  try {
    return await withPartitions(db, batch.plan.rows.length, () => writeOnce(db, batch, encode))
  } catch (error) {
    throw error instanceof DatabaseError && error.mayHaveRun ? new BatchInDoubt(batch, error) : error
  }
}

/** Encodes the batch only when needed: another request may write it in its own statement. */
function encodeOnce({ plan }: NewBatch): () => Columns {
  let columns: Columns | undefined
  return () => {
    columns ??= encodeColumns(plan.rows)
    return columns
  }
}

/** @param asked the batch before suppressed rows were removed */
async function writeOnce(
  db: Database,
  batch: NewBatch,
  columns: () => Columns,
  asked = batch,
): Promise<WrittenBatch> {
  const alone = (refused: () => void) => insertAlone(db, batch, columns, refused)
  const inserted = await insertGrouped(db, { batch, deadLetters: [] }, alone)
  if (isSuppressed(inserted)) return writeOthers(db, batch, inserted, asked)
  if (inserted) return writtenNow(batch, inserted)
  try {
    return (await replayBatch(db, asked)) ?? ledgerRowGone()
  } catch (error) {
    // The ledger has a row, so an error no longer means that nothing was stored.
    throw error instanceof DatabaseError ? error.withDoubt(true) : error
  }
}

/**
 * Writes the batch without its suppressed rows, because of which nothing was written. Each attempt has fewer
 * rows, so this ends.
 */
async function writeOthers(
  db: Database,
  batch: NewBatch,
  { suppressed }: Suppressed,
  asked: NewBatch,
): Promise<WrittenBatch> {
  const others = { ...batch, plan: withoutSuppressed(batch.plan, suppressed) }
  const refused = batch.plan.rows.filter((_, index) => suppressed.has(index))
  await keepErasedKeys(db, batch.transactionId, refused)
  if (!batch.allOrNothing) return writeOnce(db, others, encodeOnce(others), asked)
  // An earlier attempt may have stored it before the suppression.
  const stored = await replayBatch(db, asked)
  if (stored) return stored
  throw new BatchRefused(others.plan.failures)
}

/** The idempotency key that prevented the write has expired: the next attempt can write. */
function ledgerRowGone(): never {
  throw new DatabaseError("transient", "ledger row gone", false)
}

/**
 * Inserts a batch in a statement of its own, and by halves when the database refuses one of its rows.
 *
 * @param refused called when the database refuses a row
 * @returns undefined when the ledger already has the batch
 * @throws {BatchRefused} `allOrNothing`, and the database refused a signal: nothing was stored
 * @throws {DatabaseError} nothing was stored, unless it may have run
 */
async function insertAlone(
  db: Database,
  batch: NewBatch,
  columns: () => Columns,
  refused: () => void,
): Promise<Inserted | Suppressed | undefined> {
  try {
    return await orSuppressed(insertTogether(db, batch, columns()))
  } catch (error) {
    if (!(error instanceof DatabaseError && error.kind === "refused")) throw error
    refused()
    return orSuppressed(insertByHalves(db, { batch, deadLetters: undefined }, columns()))
  }
}

async function insertTogether(
  db: Database,
  batch: NewBatch,
  columns: Columns,
): Promise<Inserted | undefined> {
  const [written] = await db.query<{ ids: string | null; received_at: string }>(
    insertStatement(batch, columns),
  )
  return written && insertedOf(batch.plan, written.received_at, written.ids)
}

/**
 * A single statement, so one transaction and one round trip: it reserves the ids in batch order, writes the
 * ledger row, and writes the signals and their changes only if that row is new. It returns no row when the
 * ledger has the batch, and otherwise the outcomes in batch order (see `insertedOf`). With suppressed rows it
 * fails, and names them.
 *
 * All parameters are text, and there are few: through Neon's proxy the statement is parsed and planned again
 * each time.
 */
function insertStatement(batch: NewBatch, columns: Columns): SQL {
  const { plan, idempotency } = batch
  const mayRepeat = plan.rows.some((row) => row.dedupeKey !== null)
  const mayChange = hasChanges(batch)
  return sql`
    with input as materialized (
      select nextval('signals_id_seq') as id, signal.*
      from unnest(
        ${typedColumns(columns)}
      ) with ordinality as signal (
        ${SIGNAL_NAMES}, position
      )
    ), ledger as (
      insert into ${batches} (
        transaction_id, caller, state, total_count, failed_count, failures, idempotency_key, request_hash,
        first_signal_id, last_signal_id, signal_ids
      )
      select
        ${batch.transactionId}::uuid, ${batch.caller}, 'stored', ${plan.total}::int4, ${plan.failures.length}::int4,
        ${JSON.stringify(plan.failures)}::jsonb, ${idempotency?.key ?? null}, ${idempotency?.requestHash ?? null},
        min(first), max(last), coalesce(string_agg(first || ':' || size, ',' order by first), '')
      from (select min(id) as first, max(id) as last, count(*) as size from input group by id - position) as run
      having ${noneSuppressed(sql`array[${batch.transactionId}::uuid]`)}
      on conflict do nothing
      returning transaction_id
    ), ${mayRepeat ? sql`${takenKeys(sql`input cross join ledger`, deletionsIn(plan.rows))}, ` : sql``}stored as (
      insert into ${signals} (
        id, transaction_id, ${SIGNAL_NAMES}
      ) overriding system value
      select
        id, transaction_id, ${SIGNAL_NAMES}
      from input cross join ledger
      ${mayRepeat ? WITH_KEY_TAKEN : sql``}
      returning id
    )${mayRepeat ? sql`, ${HELD_KEYS}` : sql``}${mayChange ? sql`, ${changedSignals([batch], AFTER_ROWS)}` : sql``}
    select (${mayRepeat ? OUTCOMES : IDS_RESERVED}) as ids, ${NOW} as received_at from ledger
    ${mayChange ? sql`where (select count(*) from changed) >= 0` : sql``}`
}

const OUTCOMES = sql`
  select string_agg(${OUTCOME}, ',' order by position)
  from input left join stored using (id) left join held using (dedupe_key)`

/** Without a dedupe_key no row is left out: the reserved ids are the stored ones, and no join is needed. */
const IDS_RESERVED = sql`select string_agg(id::text, ',' order by position) from input`

const writtenNow = ({ transactionId }: NewBatch, { receivedAt, rows, failures }: Inserted): WrittenBatch => ({
  transactionId,
  receivedAt,
  state: "stored",
  replayed: false,
  isNew: true,
  failures,
  stored: rows,
  duplicates: countDuplicates(rows),
})
