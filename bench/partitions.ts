import { parseArgs } from "node:util"
import type pg from "pg"
import { migrate } from "../src/local/postgres/migrate.ts"
import { partitionSignals } from "../src/local/postgres/partition.ts"
import { startTemporaryPostgres } from "../src/local/postgres/postgres.ts"
import type { Database } from "../src/store/connection.ts"
import { listSignals, signalById, signalStats } from "../src/store/read.ts"
import { writeBatch } from "../src/store/write-batch.ts"
import { migrateUntil } from "../test/node/store/former-database.ts"
import { batchOf, databaseOn } from "../test/node/store/statements.ts"
import { firstStatement } from "../test/setup/first-statement.ts"
import { cpuMs } from "./harness/cpu.ts"
import { openConnection } from "./harness/database.ts"
import { describeMachine } from "./harness/machine.ts"
import { median, quantile } from "./harness/statistics.ts"
import { fill } from "./migration/fill.ts"

/**
 * `npx node bench/partitions.ts`: measures the cost of a batch of 500 signals in a plain table, in a full
 * partition of the same size and in an empty one, and the cost of reads over 1, 12 and 120 partitions of the
 * same rows.
 */
const { values } = parseArgs({
  options: {
    /** Rows of the plain table, and of the full partition. */
    rows: { type: "string", default: "10000000" },
    /** Rows of the table for the reads. */
    read: { type: "string", default: "2400000" },
    /** The folder below which the database keeps its data. */
    data: { type: "string", default: "/tmp" },
  },
})

const postgres = await startTemporaryPostgres(values.data)
try {
  const { client } = await openConnection(postgres.url)
  console.log(await describeMachine(client))
  // Otherwise the first cell pays for the page images of a checkpoint.
  await client.query("alter system set full_page_writes = off")
  await client.query("select pg_reload_conf()")
  await client.end()
  await inserts(Number(values.rows))
  for (const partitions of [1, 12, 120]) await reads(partitions, Number(values.read))
} finally {
  await postgres.stop()
}

async function emptyDatabase(name: string): Promise<string> {
  const { client } = await openConnection(postgres.url)
  await client.query(`create database ${name}`)
  await client.end()
  return Object.assign(new URL(postgres.url), { pathname: `/${name}` }).href
}

async function inserts(rows: number): Promise<void> {
  const url = await emptyDatabase("inserts")
  await migrateUntil(url, "_dedupe_keys")
  const { client, pid } = await openConnection(url)
  await fill(client, rows)
  await migrate(url)
  const cells: Record<string, Awaited<ReturnType<typeof insert>>> = {}
  const both = async (name: string) => {
    for (const share of [0, 0.3]) cells[`${name}, ${share * 100} % keys`] = await insert(client, pid, share)
  }
  await both("plain table")
  await partitionSignals(url)
  await both("full partition")
  const [{ end }] = (
    await client.query("select max(to_id) as end from signal_partitions where from_id is null")
  ).rows
  await client.query("select setval('signals_id_seq', $1::int8)", [end])
  await client.query("select make_signal_partitions()")
  await both("empty partition")
  console.table(cells)
  await client.end()
}

async function insert(client: pg.Client, pid: number, keyed: number) {
  const cpu: number[] = []
  const ms: number[] = []
  const [{ lsn }] = (await client.query("select pg_current_wal_lsn() as lsn")).rows
  const rounds = 60
  for (let round = -5; round < rounds; round++) {
    const batch = batchOf(
      Array.from({ length: 500 }, (_, place) => ({
        context_window_id: `conv-${Math.floor(Math.random() * 131_072)}`,
        timestamp: new Date(Date.now() - (Math.random() < 0.05 ? Math.random() * 3e9 : 0)).toISOString(),
        raw_content: `${"words of a message ".repeat(8)}${place}`,
        user_id: `U${place}`,
        payload: { channel: `C${place % 100}`, ts: place, subtype: "plain", team: "T1" },
        ...(Math.random() < keyed && { dedupe_key: crypto.randomUUID() }),
      })),
    )
    const before = cpuMs(pid)
    const startedAt = performance.now()
    await writeBatch(databaseOn(client), batch)
    if (round < 0) continue
    cpu.push(cpuMs(pid) - before)
    ms.push(performance.now() - startedAt)
  }
  const [{ bytes }] = (
    await client.query("select pg_wal_lsn_diff(pg_current_wal_lsn(), $1)::float8 as bytes", [lsn])
  ).rows
  const round = (value: number) => Number(value.toFixed(1))
  return {
    "CPU ms, lower quartile": round(quantile(cpu, 0.25)),
    "p50 ms": round(median(ms)),
    "WAL B a signal": Math.round(bytes / ((rounds + 5) * 500)),
  }
}

async function reads(partitions: number, rows: number): Promise<void> {
  const url = await emptyDatabase(`reads_${partitions}`)
  await migrateUntil(url, "_dedupe_keys")
  const { client } = await openConnection(url)
  await fill(client, rows)
  await migrate(url)
  await client.query(`create or replace function signal_partition_rows() returns bigint language sql immutable parallel safe
    return ${Math.ceil((rows + 1) / partitions)}`)
  await partitionSignals(url)
  // Moves the rows from the first partition to the partitions of their ids.
  if (partitions > 1) await spread(client, rows, partitions)
  const middle = Math.floor(rows / 2)
  const { rows: found } = await client.query(
    "select context_window_id as conversation from signals where id = $1",
    [middle],
  )
  const { conversation } = found[0]
  const newest = (
    await client.query("select max(time)::text as time from signals where id > $1", [rows - 1000])
  ).rows[0].time
  const cells: Record<string, object> = {}
  const queries: [name: string, work: (db: Database) => Promise<unknown>][] = [
    ["newest page of 50", (db) => listSignals(db, { limit: 50 })],
    ["page of a conversation", (db) => listSignals(db, { context_window_id: conversation, limit: 50 })],
    [
      "page of a source, in the middle",
      (db) => listSignals(db, { signal_source: "Neo", limit: 50, after: { time: newest, id: middle } }),
    ],
    ["by id", (db) => signalById(db, middle)],
    [
      "stats of the last day",
      (db) => signalStats(db, { since: new Date(Date.parse(newest) - 86_400_000).toISOString(), limit: 20 }),
    ],
  ]
  for (const [name, work] of queries) cells[name] = await explain(client, await firstStatement(work))
  console.log(`${partitions} partitions of ${Math.ceil(rows / partitions).toLocaleString("en")} rows`)
  console.table(cells)
  await client.end()
}

async function spread(client: pg.Client, rows: number, partitions: number): Promise<void> {
  const size = Math.ceil((rows + 1) / partitions)
  await client.query("alter table signals detach partition signals_0")
  for (const { name } of (await client.query<{ name: string }>("select name from signal_partitions")).rows)
    await client.query(`drop table ${name}`)
  for (let from = 0; from <= rows; from += size) {
    const part = `part_${from}`
    await client.query(`create table ${part} (like signals including defaults including constraints)`)
    await client.query(
      `insert into ${part} select * from signals_0 where id >= ${from} and id < ${from + size}`,
    )
    await client.query(
      `alter table signals attach partition ${part} for values from (${from}) to (${from + size})`,
    )
    await client.query(`vacuum analyze ${part}`)
  }
  await client.query("drop table signals_0")
  await client.query("analyze signals")
}

async function explain(client: pg.Client, { sql, params }: { sql: string; params: unknown[] }) {
  const planning: number[] = []
  const execution: number[] = []
  let buffers = 0
  for (let round = -5; round < 25; round++) {
    const { rows } = await client.query(`explain (analyze, buffers, timing off, format json) ${sql}`, params)
    const [
      {
        "QUERY PLAN": [plan],
      },
    ] = rows
    if (round < 0) continue
    planning.push(plan["Planning Time"])
    execution.push(plan["Execution Time"])
    buffers = plan.Plan["Shared Hit Blocks"] + plan.Plan["Shared Read Blocks"]
  }
  const round = (value: number) => Number(value.toFixed(2))
  return { "planning ms": round(median(planning)), "execution ms": round(median(execution)), buffers }
}
