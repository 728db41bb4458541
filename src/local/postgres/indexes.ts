import type { Client } from "pg"
import { MAX_INDEXED_BYTES } from "../../store/database/schema.ts"
import { withShortLocks } from "./short-locks.ts"

interface Index {
  name: string
  /** The SQL text after "using btree". */
  on: string
}

/**
 * The indexes for reads of `signals`; docs/benchmarks/table-size.md has the cost of each. They are not in
 * drizzle's schema, which supports neither INCLUDE nor a build while the service writes.
 *
 * A row of an index holds at most 2,704 bytes, so an index must not refuse a signal that the rules allow:
 * `context_window_id` and `signal_source` have at most 255 characters, or 1,020 bytes; `agent_id` is in no
 * index. A changed index gets a new name.
 */
export const SIGNAL_INDEXES: readonly Index[] = [
  // The statistics, and list filters without an index of their own, read only this index.
  {
    name: "signals_recent_idx",
    on: "(time, id) include (context_window_id, signal_score, escalate_flag)",
  },
  { name: "signals_conversation_idx", on: "(context_window_id, time, id) include (signal_source)" },
  { name: "signals_source_idx", on: "(signal_source, time, id)" },
  {
    name: "signals_user_id_idx",
    on: `(user_id, time, id) where octet_length(user_id) <= ${MAX_INDEXED_BYTES}`,
  },
  {
    name: "signals_long_user_id_idx",
    on: `(hashtextextended(user_id, 0), time, id) where octet_length(user_id) > ${MAX_INDEXED_BYTES}`,
  },
  { name: "signals_escalated_idx", on: "(time, id) where escalate_flag = 1" },
]

/**
 * Adds the indexes to the table, which new partitions inherit. An index is valid when all partitions have it.
 */
export async function addSignalIndexes(client: Client): Promise<void> {
  for (const { name, on } of SIGNAL_INDEXES)
    await client.query(`create index if not exists ${name} on only signals using btree ${on}`)
}

/**
 * Builds the indexes of the partitions of `signals` one at a time while the service writes. When it is
 * stopped, the next call continues.
 */
export async function buildSignalIndexes(client: Client): Promise<void> {
  await withShortLocks(client, () => addSignalIndexes(client))
  for (const index of SIGNAL_INDEXES) await buildOfPartitions(client, index)
}

async function buildOfPartitions(client: Client, { name, on }: Index): Promise<void> {
  for (;;) {
    const { rows } = await client.query<{ partition: string }>(WITHOUT_INDEX, [name])
    const partition = rows[0]?.partition
    if (partition === undefined) return
    const own = name.replace("signals", partition)
    await buildConcurrently(client, partition, { name: own, on })
    await withShortLocks(client, () => client.query(`alter index ${name} attach partition ${own}`))
    // The statistics of an indexed expression: autovacuum does not make them in a partition that is full.
    if (/\(\w+\(/.test(on)) await client.query(`analyze ${partition}`)
  }
}

/** Builds an index. An invalid index of a stopped build is dropped first. */
async function buildConcurrently(client: Client, table: string, { name, on }: Index): Promise<void> {
  const { rows } = await client.query<{ valid: boolean }>(
    "select indisvalid as valid from pg_index where indexrelid = to_regclass(quote_ident($1))",
    [name],
  )
  if (rows[0]?.valid) return
  await client.query(`drop index concurrently if exists ${name}`)
  await client.query(`create index concurrently ${name} on ${table} using btree ${on}`)
}

const WITHOUT_INDEX = `
  select relname as partition
  from pg_inherits join pg_class on pg_class.oid = inhrelid
  where inhparent = 'signals'::regclass and not exists (
    select from pg_index join pg_inherits as attached on attached.inhrelid = indexrelid
    where indrelid = pg_class.oid and attached.inhparent = $1::regclass
  )
  order by relname limit 1`
