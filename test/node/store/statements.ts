import { NeonDbError } from "@neondatabase/serverless"
import { PgDialect } from "drizzle-orm/pg-core"
import type { Client, DatabaseError as DatabaseReport } from "pg"
import { uuidv7 } from "uuidv7"
import { planBatch } from "../../../src/signals/plan.ts"
import type { Signal } from "../../../src/signals/schema.ts"
import type { NewBatch } from "../../../src/store/batches/batch.ts"
import { writeBatch } from "../../../src/store/batches/write.ts"
import type { Database } from "../../../src/store/database/connection.ts"
import { databaseErrorOf } from "../../../src/store/database/errors.ts"

export const batchOf = (signals: Signal[]): NewBatch => ({
  transactionId: uuidv7(),
  caller: "tests",
  plan: planBatch(signals, "2026-01-02T03:04:05.000000Z"),
  allOrNothing: false,
})

/** The service's database on a connection of Postgres', so that a test may hold its transaction open. */
export function databaseOn(client: Client): Database {
  const dialect = new PgDialect()
  return {
    deadlineAt: Date.now() + 30_000,
    usage: { attempts: 0, ms: 0 },
    traffic: "writes",
    keepAlive: () => {},
    async query<Row>(statement: Parameters<Database["query"]>[0]) {
      const { sql, params } = dialect.sqlToQuery(statement)
      try {
        return (await client.query(sql, params)).rows as Row[]
      } catch (error) {
        const { message, code, constraint, detail } = error as DatabaseReport
        throw databaseErrorOf(Object.assign(new NeonDbError(message), { code, constraint, detail }))
      }
    },
  }
}

/** Stores a batch as the service does, with `[id, duplicate]` of each signal. */
export async function write(
  client: Client,
  signals: Signal[],
): Promise<[id: number | null, duplicate: boolean][]> {
  const { stored } = await writeBatch(databaseOn(client), batchOf(signals))
  return stored.map(({ id, duplicate }) => [id, duplicate])
}

/**
 * Stores signals with these keys by the statement of the version before `dedupe_keys`; the ids in order, ""
 * for a duplicate.
 */
export async function writeAsFormerVersion(
  client: Client,
  keys: readonly (string | null)[],
): Promise<string[]> {
  const { rows } = await client.query<{ ids: string }>(
    `with input as materialized (
      select nextval('signals_id_seq') as id, signal.* from unnest($2::text[]) with ordinality as signal (dedupe_key, position)
    ), ledger as (
      insert into batches (
        transaction_id, caller, state, total_count, failed_count, failures, first_signal_id, last_signal_id, signal_ids
      )
      select $1::uuid, 'former', 'stored', $3::int4, 0, '[]', min(first), max(last), string_agg(first || ':' || size, ',' order by first)
      from (select min(id) as first, max(id) as last, count(*) as size from input group by id - position) as run
      on conflict do nothing
      returning transaction_id
    ), stored as (
      insert into signals (id, transaction_id, context_window_id, time, signal_source, signal_score, escalate_flag, dedupe_key)
      overriding system value
      select id, transaction_id, 'former', now(), 'former', 0.5, 0, dedupe_key from input cross join ledger
      order by dedupe_key, position
      on conflict (dedupe_key) where dedupe_key is not null do nothing
      returning id
    )
    select (
      select string_agg(coalesce(stored.id::text, ''), ',' order by position) from input left join stored using (id)
    ) as ids from ledger`,
    [uuidv7(), keys, keys.length],
  )
  return rows[0]?.ids.split(",") ?? []
}
