import type { Client } from "pg"
import { withShortLocks } from "./short-locks.ts"

interface Index {
  name: string
  /** The SQL text after "using btree". */
  on: string
}

/**
 * The indexes for reads of `signals`; docs/benchmarks/table-size.md has the cost of each. They are not in drizzle's
 * schema, which supports neither INCLUDE nor a build while the service writes.
 */
export const SIGNAL_INDEXES: readonly Index[] = [
  // The statistics, and list filters without an index of their own, read only this index.
  {
    name: "signals_newest_idx",
    on: "(time, id) include (context_window_id, signal_score, escalate_flag, agent_id)",
  },
  { name: "signals_conversation_idx", on: "(context_window_id, time, id) include (signal_source)" },
  { name: "signals_source_idx", on: "(signal_source, time, id)" },
  { name: "signals_user_idx", on: "(user_id, time, id) where user_id is not null" },
  { name: "signals_escalated_idx", on: "(time, id) where escalate_flag = 1" },
]

/** The indexes of former versions, which `SIGNAL_INDEXES` replaces. */
const FORMER = ["signals_time_idx", "signals_context_window_id_time_idx", "signals_signal_source_time_idx"]

/**
 * Builds the indexes of the table `signals` one at a time while the service writes, then drops those of
 * former versions. When it is stopped, the next call continues.
 */
export async function buildSignalIndexes(client: Client): Promise<void> {
  const { rows } = await client.query(
    "select from pg_class where oid = 'signals'::regclass and relkind = 'p'",
  )
  const partitioned = rows.length > 0
  for (const index of SIGNAL_INDEXES) {
    if (partitioned) await buildOfPartitions(client, index)
    else await buildConcurrently(client, "signals", index)
  }
  for (const name of FORMER)
    await withShortLocks(client, () =>
      client.query(`drop index ${partitioned ? "" : "concurrently "}if exists ${name}`),
    )
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

/**
 * Adds an index to the parent table, which new partitions inherit, and builds it on each existing partition.
 * It is valid when all have it.
 */
async function buildOfPartitions(client: Client, { name, on }: Index): Promise<void> {
  await withShortLocks(client, () =>
    client.query(`create index if not exists ${name} on only signals using btree ${on}`),
  )
  for (;;) {
    const { rows } = await client.query<{ partition: string }>(WITHOUT_INDEX, [name])
    const partition = rows[0]?.partition
    if (partition === undefined) return
    const own = name.replace("signals", partition)
    await buildConcurrently(client, partition, { name: own, on })
    await withShortLocks(client, () => client.query(`alter index ${name} attach partition ${own}`))
  }
}

const WITHOUT_INDEX = `
  select relname as partition
  from pg_inherits join pg_class on pg_class.oid = inhrelid
  where inhparent = 'signals'::regclass and not exists (
    select from pg_index join pg_inherits as attached on attached.inhrelid = indexrelid
    where indrelid = pg_class.oid and attached.inhparent = $1::regclass
  )
  order by relname limit 1`
