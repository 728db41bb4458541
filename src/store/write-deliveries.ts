import { type SQL, sql } from "drizzle-orm"
import type { SignalRow } from "../signals/plan.ts"
import type { Failure } from "../signals/responses.ts"
import { BatchInDoubt, type NewBatch } from "./batch.ts"
import { type Database, withRetries } from "./connection.ts"
import { type DeadLetter, insertDeadLetters, insertLetters } from "./dead-letters.ts"
import { DatabaseError } from "./errors.ts"
import { batches, signals } from "./schema.ts"
import { encodeColumns } from "./statement/columns.ts"
import { takenKeys, WITH_KEY_TAKEN } from "./statement/dedupe-keys.ts"
import { SIGNAL_COLUMNS, SIGNAL_NAMES, typedColumns } from "./statement/signal-columns.ts"
import { writeBatch } from "./write-batch.ts"

/** A batch that was acknowledged before it was stored, and what of it can't be. */
export interface Delivery {
  batch: NewBatch & { allOrNothing: false; idempotency?: undefined }
  letters: DeadLetter[]
}

/** What this call did; a delivery that an earlier call stored counts nothing. */
export interface WrittenDeliveries {
  /** Signals that this call added to the table. */
  stored: number
  /** Signals whose dedupe_key was stored before. */
  duplicates: number
  /** Signals that only the database refused, which are dead letters now. */
  refused: Failure[]
}

/**
 * Stores the deliveries of many calls exactly once: their ledger rows, signals and dead letters, in one statement. Safe to repeat,
 * and with the same delivery more than once in it.
 *
 * @throws {BatchInDoubt} some or all of it may be stored; it names the first of them
 * @throws {DatabaseError} nothing was stored
 */
export async function writeDeliveries(db: Database, delivered: readonly Delivery[]): Promise<WrittenDeliveries> {
  const deliveries = [...new Map(delivered.map((delivery) => [delivery.batch.transactionId, delivery])).values()]
  try {
    return await writeTogether(db, deliveries)
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error
    if (error.kind === "refused") return writeEach(db, deliveries)
    throw error.mayHaveRun ? new BatchInDoubt(deliveries[0]?.batch.transactionId ?? "", error) : error
  }
}

/**
 * Stores deliveries in one statement, or none of them.
 *
 * @throws {DatabaseError} the database refused one of them, or did not answer
 */
export async function writeTogether(db: Database, deliveries: readonly Delivery[]): Promise<WrittenDeliveries> {
  const entered = await withRetries(db, () => db.query<{ transaction_id: string; stored: number }>(insertStatement(deliveries)))
  const sizes = new Map(deliveries.map(({ batch }) => [batch.transactionId, batch.plan.rows.length]))
  const written: WrittenDeliveries = { stored: 0, duplicates: 0, refused: [] }
  for (const { transaction_id, stored } of entered) {
    written.stored += stored
    written.duplicates += (sizes.get(transaction_id) ?? stored) - stored
  }
  return written
}

/** One after the other, since the database refused a signal of one of them: each row of that in a savepoint. */
async function writeEach(db: Database, deliveries: readonly Delivery[]): Promise<WrittenDeliveries> {
  const written: WrittenDeliveries = { stored: 0, duplicates: 0, refused: [] }
  for (const { batch, letters } of deliveries) {
    const { failures, stored, duplicates } = await writeBatch(db, batch)
    written.stored += stored.length - duplicates
    written.duplicates += duplicates
    const known = new Set(letters.map(({ index }) => index))
    const refused = failures.filter(({ index }) => !known.has(index))
    written.refused.push(...refused)
    await insertDeadLetters(db, [...letters, ...refused.map((failure) => letterOf(batch, failure))]).catch((error) => {
      throw error instanceof DatabaseError ? new BatchInDoubt(batch.transactionId, error) : error
    })
  }
  return written
}

/** The dead letter of a signal that passed every rule and that only the database refuses. */
function letterOf({ transactionId, caller, plan }: NewBatch, { index, error }: Failure): DeadLetter {
  const row = plan.rows.find((one) => one.index === index)
  return { transactionId, index, source: "signal", caller, reason: error, record: row ? signalText(row) : "null" }
}

/** A row as the JSON of the signal that it was. */
function signalText(row: SignalRow): string {
  const fields = SIGNAL_COLUMNS.map(({ field, column, type }) => {
    const name = field === "time" ? "timestamp" : column
    // A payload is JSON already.
    return `${JSON.stringify(name)}:${type === "jsonb" ? row[field] || "null" : JSON.stringify(row[field])}`
  })
  return `{${fields.join(",")}}`
}

/** As for a single batch (see `writeBatch`), with the rows of each joined to the ledger row that is new. Returns those, with the number of signals stored of each. */
function insertStatement(deliveries: readonly Delivery[]): SQL {
  const written = deliveries.map(({ batch }) => batch)
  const columns = encodeColumns(written.flatMap(({ plan }) => plan.rows))
  const transactionIds = written.flatMap(({ transactionId, plan }) => plan.rows.map(() => transactionId))
  const mayRepeat = written.some(({ plan }) => plan.rows.some((row) => row.dedupeKey !== null))
  const letters = deliveries.flatMap((delivery) => delivery.letters)
  const list = (values: readonly (string | number)[]) => sql.param(values)
  return sql`
    with delivery as (
      select * from unnest(
        ${list(written.map(({ transactionId }) => transactionId))}::uuid[], ${list(written.map(({ caller }) => caller))}::text[],
        ${list(written.map(({ plan }) => plan.total))}::int4[], ${list(written.map(({ plan }) => plan.failures.length))}::int4[],
        ${list(written.map(({ plan }) => JSON.stringify(plan.failures)))}::jsonb[]
      ) as delivery (transaction_id, caller, total_count, failed_count, failures)
    ), input as materialized (
      select nextval('signals_id_seq') as id, signal.*
      from unnest(
        ${typedColumns(columns)}, ${list(transactionIds)}::uuid[]
      ) with ordinality as signal (
        ${SIGNAL_NAMES}, transaction_id, position
      )
    ), ledger as (
      insert into ${batches} (transaction_id, caller, state, total_count, failed_count, failures, first_signal_id, last_signal_id, signal_ids)
      select transaction_id, caller, 'stored', total_count, failed_count, failures, ids.first, ids.last, ids.runs
      from delivery
      left join (
        select transaction_id, min(first) as first, max(last) as last, string_agg(first || ':' || size, ',' order by first) as runs
        from (
          select transaction_id, min(id) as first, max(id) as last, count(*) as size
          from input group by transaction_id, id - position
        ) as run
        group by transaction_id
      ) as ids using (transaction_id)
      -- Two calls with the same deliveries take their locks in the same order, so that they can't deadlock.
      order by transaction_id
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
      returning transaction_id
    )${letters.length > 0 ? sql`, kept as (${insertLetters(letters, sql`join ledger using (transaction_id)`)})` : sql``}
    select transaction_id, count(stored.transaction_id)::int4 as stored
    from ledger left join stored using (transaction_id)
    group by transaction_id`
}
