import type { SQL } from "drizzle-orm"
import { PgDialect } from "drizzle-orm/pg-core"
import { Client } from "pg"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { buildSignalIndexes, SIGNAL_INDEXES } from "../../../src/local/postgres/indexes.ts"
import { migrate } from "../../../src/local/postgres/migrate.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"
import type { Database } from "../../../src/store/database/connection.ts"
import { listSignals, signalStats } from "../../../src/store/signals/read.ts"
import { MAX_TRIED, MAX_TRIED_IN_INDEX, type SignalFilter } from "../../../src/store/signals/search.ts"
import { databaseOn } from "./statements.ts"

const ROWS = 120_000

/** More bytes than a row of an index holds. */
const LONG = "\u{1F600}".repeat(1024)

let postgres: LocalPostgres
let client: Client

beforeAll(async () => {
  postgres = await startTemporaryPostgres()
  await migrate(postgres.url)
  client = new Client({ connectionString: postgres.url })
  await client.connect()
  // A conversation that has half of all signals, and a source, a user and an agent that none of these has.
  await client.query(
    `insert into signals (time, transaction_id, context_window_id, signal_source, signal_score, escalate_flag, agent_id, user_id, raw_content)
     select '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 second', gen_random_uuid(),
       case when n % 2 = 0 then 'large' else 'conv-' || n % 5000 end, case when n % 2 = 0 then 'slack' else 'other-' || n % 3 end,
       n % 1000 / 1000.0, case when n % 5000 = 0 then 1 else 0 end, 'agent-' || n % 10,
       case when n % 2 = 1 then 'user-' || n % 3000 when n % 50 = 0 then $2 end, '1: ' || n
     from generate_series(1, $1::int4) as n`,
    [ROWS, LONG],
  )
})

afterAll(async () => {
  await client.end()
  await postgres.stop()
})

/** The indexes of `signals` that are not a constraint's, by name: whether each is valid. */
async function indexes(): Promise<Record<string, boolean>> {
  const { rows } = await client.query<{ name: string; valid: boolean }>(
    `select relname as name, indisvalid as valid from pg_index join pg_class on pg_class.oid = indexrelid
     where indrelid = 'signals'::regclass and not indisunique`,
  )
  return Object.fromEntries(rows.map(({ name, valid }) => [name, valid]))
}

const ALL_VALID = Object.fromEntries(SIGNAL_INDEXES.map(({ name }) => [name, true]))

describe("the indexes of a filled table", () => {
  it("are built while two migrators run and the service writes", async () => {
    await client.query("drop index signals_recent_idx, signals_user_id_idx")
    let wrote = 0
    let done = false
    const writer = (async () => {
      while (!done) {
        await client.query(
          `insert into signals (time, transaction_id, context_window_id, signal_source, signal_score, escalate_flag)
           values (now(), gen_random_uuid(), 'meanwhile', 'meanwhile', 0.5, 0)`,
        )
        wrote++
      }
    })()
    await Promise.all([migrate(postgres.url), migrate(postgres.url)]).finally(() => {
      done = true
      return writer
    })
    expect(await indexes()).toEqual(ALL_VALID)
    const { rows } = await client.query("select count(*)::int4 as count from signals")
    expect(rows).toEqual([{ count: ROWS + wrote }])
  })

  it("are built in every partition without them, and belong to the table when all have them", async () => {
    await client.query("drop index signals_user_id_idx, signals_recent_idx")
    await client.query(
      "create table signals_20000000 partition of signals for values from (20000000) to (30000000)",
    )
    await buildSignalIndexes(client)
    await client.query(
      "create table signals_30000000 partition of signals for values from (30000000) to (40000000)",
    )
    const { rows } = await client.query(
      `select relname as name, indisvalid as valid,
         (select count(*)::int4 from pg_inherits where inhparent = indexrelid) as partitions
       from pg_index join pg_class on pg_class.oid = indexrelid where indrelid = 'signals'::regclass and not indisunique`,
    )
    const { rows: found } = await client.query("select count(*)::int4 as count from signal_partitions")
    const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1)
    expect(rows.toSorted(byName)).toEqual(
      SIGNAL_INDEXES.map(({ name }) => ({ name, valid: true, partitions: found[0].count })).toSorted(byName),
    )
    await client.query("drop table signals_20000000, signals_30000000")
  })
})

/** The index of the table that each index of a partition belongs to. */
async function parents(): Promise<Map<string, string>> {
  const { rows } = await client.query<{ own: string; parent: string }>(
    `select child.relname as own, parent.relname as parent from pg_inherits
     join pg_class as child on child.oid = inhrelid join pg_class as parent on parent.oid = inhparent
     where child.relkind = 'i'`,
  )
  return new Map(rows.map(({ own, parent }) => [own, parent]))
}

interface Plan {
  "Node Type": string
  "Relation Name"?: string
  "Index Name"?: string | undefined
  "Actual Rows": number
  "Actual Loops": number
  "Rows Removed by Filter"?: number
  Plans?: Plan[]
}

/**
 * The nodes of the plan of the first statement that `work` sends, which is carried out, and how many pages of
 * 8 kB it read.
 */
async function carryOut(
  work: (db: Database) => Promise<unknown>,
): Promise<{ nodes: Plan[]; buffers: number }> {
  const sent: SQL[] = []
  const query = async (statement: SQL) => {
    sent.push(statement)
    return []
  }
  const db: Database = { ...databaseOn(client), query }
  await work(db)
  const { sql, params } = new PgDialect().sqlToQuery(sent[0] as SQL)
  const { rows } = await client.query(`explain (analyze, buffers, format json) ${sql}`, params)
  const [{ Plan: root }] = rows[0]["QUERY PLAN"]
  const names = await parents()
  const flat = (plan: Plan): Plan[] => {
    const index = plan["Index Name"]
    return [
      { ...plan, ...(index && { "Index Name": names.get(index) }) },
      ...(plan.Plans ?? []).flatMap(flat),
    ]
  }
  return { nodes: flat(root), buffers: root["Shared Hit Blocks"] + root["Shared Read Blocks"] }
}

describe("a read of a large table", () => {
  beforeAll(async () => {
    await client.query("drop table signals_10000000")
    await client.query("vacuum analyze signals")
  })

  it.each<[name: string, filter: SignalFilter, index: string, mostTried: number]>([
    ["no filter", {}, "signals_recent_idx", 101],
    ["an hour", { since: "2026-01-01T01:00:00Z", until: "2026-01-01T02:00:00Z" }, "signals_recent_idx", 101],
    ["a large conversation", { context_window_id: "large" }, "signals_conversation_idx", 101],
    ["a small conversation", { context_window_id: "conv-1" }, "signals_conversation_idx", 101],
    [
      "a conversation and a source it never had",
      { context_window_id: "large", signal_source: "other-1" },
      "signals_conversation_idx",
      MAX_TRIED_IN_INDEX,
    ],
    [
      "a conversation and a user it never had",
      { context_window_id: "large", user_id: "user-1" },
      "signals_conversation_idx",
      MAX_TRIED,
    ],
    ["a source", { signal_source: "slack" }, "signals_source_idx", 101],
    ["a source that none has", { signal_source: "none" }, "signals_source_idx", 0],
    [
      "a source and an agent it never had",
      { signal_source: "slack", agent_id: "agent-1" },
      "signals_source_idx",
      MAX_TRIED,
    ],
    ["a user", { user_id: "user-7" }, "signals_user_id_idx", 101],
    ["a user of a long id", { user_id: LONG }, "signals_long_user_id_idx", MAX_TRIED],
    ["an agent that none has", { agent_id: "none" }, "signals_recent_idx", MAX_TRIED],
    ["escalated", { escalate_flag: 1 }, "signals_escalated_idx", 101],
    ["not escalated", { escalate_flag: 0 }, "signals_recent_idx", MAX_TRIED_IN_INDEX],
    ["a text that none has", { q: "none" }, "signals_recent_idx", MAX_TRIED],
    [
      "a conversation and a value of the payload that none has",
      { context_window_id: "large", payload: [{ path: ["a"], values: ["1"] }] },
      "signals_conversation_idx",
      MAX_TRIED,
    ],
    ["a source and a text", { signal_source: "slack", q: "%" }, "signals_source_idx", MAX_TRIED],
    [
      "a text that each signal of a conversation has",
      { context_window_id: "large", q: "1" },
      "signals_conversation_idx",
      102,
    ],
    ["scores that none has", { min_score: 0.9999 }, "signals_recent_idx", MAX_TRIED_IN_INDEX],
    [
      "everything",
      {
        context_window_id: "large",
        signal_source: "slack",
        user_id: "u",
        agent_id: "agent-1",
        escalate_flag: 1,
        min_score: 0.5,
        max_score: 0.6,
      },
      "signals_conversation_idx",
      MAX_TRIED,
    ],
  ])("with %s reads one index, within its bound", async (_, filter, index, mostTried) => {
    const { nodes } = await carryOut((db) => listSignals(db, { ...filter, limit: 100 }))
    const scans = nodes.filter((node) => node["Relation Name"] === "signals_0")
    expect(scans.map((node) => node["Node Type"])).not.toContain("Seq Scan")
    const walked = scans.filter((node) => node["Index Name"] === index)
    expect(walked).toHaveLength(1)
    for (const node of walked) {
      expect(node["Actual Rows"]).toBeLessThanOrEqual(mostTried)
      expect(node["Rows Removed by Filter"] ?? 0).toBe(0)
    }
    const others = scans.filter((node) => node["Index Name"] !== index)
    for (const node of others)
      expect([node["Index Name"], node["Actual Rows"]]).toEqual(["signals_pkey", expect.any(Number)])
  })

  it("computes statistics from the index on time alone", async () => {
    const { buffers } = await carryOut((db) =>
      signalStats(db, { since: "2026-01-01T00:00:00Z", limit: 1000 }).catch(() => {}),
    )
    const { rows } = await client.query<{ pages: number }>(
      "select pg_relation_size(inhrelid)::float8 / 8192 as pages from pg_inherits where inhparent = 'signals_recent_idx'::regclass",
    )
    // Of the map that says which pages of the table need no look, a few more.
    expect(buffers).toBeLessThan((rows[0]?.pages ?? 0) * 1.5)
  })

  it("returns the same counts as the plain statement", async () => {
    const stats = await signalStats(databaseOn(client), { since: "2026-01-01T00:00:00Z", limit: 1000 })
    const { rows } = await client.query(
      `select context_window_id, count(*)::int4 as signal_count, avg(signal_score) as avg_score,
         to_char(max(time) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as latest_signal
       from signals where time > '2026-01-01T00:00:00Z'
       group by context_window_id order by count(*) desc, context_window_id limit 1000`,
    )
    expect(stats.map(({ avg_score, ...row }) => ({ ...row, avg_score: avg_score.toFixed(9) }))).toEqual(
      rows.map(({ avg_score, ...row }) => ({ ...row, avg_score: avg_score.toFixed(9) })),
    )
  })

  it("stops at its bound when it covers too many signals", async () => {
    const counted = async (most: number) => {
      const { rows } = await client.query<{ signal_count: string }>(
        "select signal_count from signal_stats('2026-01-01T00:00:00Z', $1, 1) order by context_window_id is not null",
        [most],
      )
      return rows.map(({ signal_count }) => Number(signal_count))
    }
    const { rows } = await client.query<{ count: number }>("select count(*)::int4 as count from signals")
    expect(await counted(2 * ROWS)).toEqual([rows[0]?.count, ROWS / 2])
    expect(await counted(ROWS / 2)).toEqual([ROWS / 2])
  })

  it("counts when the planner overestimates the signals", async () => {
    await client.query("begin")
    try {
      // As after a deletion of most signals, before they are analyzed.
      await client.query("delete from signals where id % 1000 <> 0")
      const { rows } = await client.query<{ signal_count: string }>(
        "select signal_count from signal_stats('2026-01-01T00:00:00Z', 1000, 1) order by context_window_id is not null",
      )
      const { rows: left } = await client.query<{ count: number }>(
        "select count(*)::int4 as count from signals",
      )
      expect(rows.map(({ signal_count }) => Number(signal_count))).toEqual([left[0]?.count, ROWS / 1000])
    } finally {
      await client.query("rollback")
    }
  })
})
