import { sql } from "drizzle-orm"
import { LISTED_PARTITIONS, type StorageRecord } from "../../signals/responses.ts"
import { type Database, utc, withRetries } from "../database/connection.ts"
import { signals } from "../database/schema.ts"

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
