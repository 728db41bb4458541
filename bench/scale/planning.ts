import type pg from "pg"
import type { Database } from "../../src/store/database/connection.ts"
import { listSignals, signalById } from "../../src/store/signals/read.ts"
import { firstStatement } from "../../test/setup/first-statement.ts"
import { median } from "../harness/statistics.ts"

/**
 * The time in which Postgres plans a read, by the number of partitions. Through Neon's proxy each statement
 * is planned again.
 */
export interface Planning {
  partitions: number
  ms: Record<string, number>
}

const READS: Record<string, (db: Database) => Promise<unknown>> = {
  "newest 100": (db) => listSignals(db, { limit: 100 }),
  "a conversation": (db) => listSignals(db, { context_window_id: "conv-1", limit: 100 }),
  "conversation + source": (db) =>
    listSignals(db, { context_window_id: "conv-1", signal_source: "slack", limit: 100 }),
  "by id": (db) => signalById(db, 1),
}
const TIMES = 15

/** Adds partitions until there are `partitions`. */
export async function planningTimes(client: pg.Client, partitions: number): Promise<Planning[]> {
  const before = await measure(client)
  const { rows } = await client.query<{ size: string; end: string }>(
    "select signal_partition_rows() as size, max(to_id) as end from signal_partitions",
  )
  const [size, end] = [Number(rows[0]?.size), Number(rows[0]?.end)]
  for (let from = end; from < end + (partitions - before.partitions) * size; from += size)
    await client.query(
      `create table signals_${from} partition of signals for values from (${from}) to (${from + size})`,
    )
  return [before, await measure(client)]
}

async function measure(client: pg.Client): Promise<Planning> {
  const { rows } = await client.query<{ count: number }>(
    "select count(*)::int4 as count from pg_inherits where inhparent = 'signals'::regclass",
  )
  const ms: Planning["ms"] = {}
  for (const [name, work] of Object.entries(READS)) {
    const { sql, params } = await firstStatement(work)
    const times: number[] = []
    for (let i = 0; i < TIMES; i++) {
      const plan = await client.query(`explain (summary, format json) ${sql}`, params)
      times.push(plan.rows[0]["QUERY PLAN"][0]["Planning Time"])
    }
    ms[name] = median(times)
  }
  return { partitions: rows[0]?.count ?? 0, ms }
}
