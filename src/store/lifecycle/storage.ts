import { sql } from "drizzle-orm"
import {
  COUNTED_WAITING,
  LISTED_PARTITIONS,
  type OperatingFigures,
  type StorageRecord,
} from "../../signals/responses.ts"
import { type Database, utc, withRetries } from "../database/connection.ts"
import { deadLetters, erasures, signals } from "../database/schema.ts"
import { FEED_LAG_SECONDS } from "../signals/feed.ts"

/** The days that signals and ledger rows are kept; undefined signal days: forever. */
export interface Retention {
  signalDays?: number | undefined
  ledgerDays: number
}

type StoredFigures = Omit<StorageRecord, "retention_days" | "ledger_retention_days">

/**
 * The size of the tables, and when the oldest partition is dropped, by the rule of `drop_expired_partition`.
 */
export async function storageFigures(
  db: Database,
  { signalDays, ledgerDays }: Retention,
): Promise<StorageRecord> {
  const [row] = await withRetries(db, () =>
    db.query<{ figures: StoredFigures }>(sql`
      with partition as (
        select name, from_id, to_id, pg_total_relation_size(to_regclass(quote_ident(name))) as bytes from signal_partitions
      ), oldest as (
        select name, to_id from partition order by to_id limit 1
      ), newest_in_oldest as (
        select received_at as arrival from ${signals}
        where id < (select to_id from oldest) order by id desc limit 1
      )
      select json_build_object(
        'oldest_signal', (select ${utc(sql`received_at`)} from ${signals} order by id limit 1),
        'next_drop', (
          select json_build_object('partition', name, 'at', ${utc(sql`(arrival + make_interval(days => ${signalDays ?? null}::int4))`)})
          from oldest cross join newest_in_oldest
          where ${signalDays ?? null}::int4 is not null and to_id <= pg_sequence_last_value('signals_id_seq')
        ),
        -- Counting every row would read the whole table.
        'signal_count', (
          select coalesce(sum(n_live_tup), 0) from pg_stat_user_tables
          where schemaname = current_schema() and (relname = 'signals' or relname in (select name from partition))
        ),
        'bytes', json_build_object(
          'signals', (select sum(bytes) from partition),
          'batches', pg_total_relation_size('batches'),
          'dedupe_keys', pg_total_relation_size('dedupe_keys'),
          'dead_letters', pg_total_relation_size('dead_letters')
        ),
        'partition_count', (select count(*) from partition),
        'partitions', (
          select coalesce(json_agg(listed order by to_id), '[]')
          from (select name, from_id, to_id, bytes from partition order by to_id limit ${LISTED_PARTITIONS}::int4) as listed
        )
      ) as figures`),
  )
  if (!row) throw new Error("the database answered no row")
  return { retention_days: signalDays ?? null, ledger_retention_days: ledgerDays, ...row.figures }
}

/** What waits for an operator, for the sweep, and in the feed, by indexes. Throws `DatabaseError`. */
export async function operatingFigures(db: Database): Promise<OperatingFigures> {
  const seconds = (created: typeof deadLetters.createdAt | typeof erasures.createdAt) =>
    sql`extract(epoch from ${created})::float8`
  const waiting = sql`from ${deadLetters} where ${deadLetters.state} = 'waiting'`
  const running = sql`from ${erasures} where ${erasures.phase} <> 'done'`
  const [row] = await withRetries(db, () =>
    db.query<OperatingFigures>(sql`
      select
        (select count(*)::int4 from (select ${waiting} limit ${COUNTED_WAITING}::int4) as few)
          as "deadLettersWaiting",
        (select ${seconds(deadLetters.createdAt)} ${waiting} order by ${deadLetters.id} limit 1)
          as "oldestDeadLetter",
        (select count(*)::int4 from (select ${running} limit ${COUNTED_WAITING}::int4) as few)
          as "erasuresRunning",
        (select ${seconds(erasures.createdAt)} ${running} order by ${erasures.id} limit 1)
          as "oldestErasure",
        ${FEED_LAG_SECONDS} as "feedLagSeconds"`),
  )
  if (!row) throw new Error("the database answered no row")
  return row
}
