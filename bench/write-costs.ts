import pg from "pg"
import { cpuMs } from "./cpu.ts"
import { migrate, startDatabase } from "./database.ts"
import { makeRows, SEED } from "./signals.ts"
import { median } from "./statistics.ts"
import { storeStatement } from "./transport/statement.ts"
import { WAYS } from "./transport/ways.ts"

const [store, payloadLiteral] = WAYS
if (!store || !payloadLiteral) throw new Error("no ways")

interface Variant {
  name: string
  /** Changes to a copy of the tables in a schema of its own. */
  schema?: string
  text?: (statement: string) => string
  params?: (params: (string | null)[]) => (string | null)[]
  /** Sent as a prepared statement, so that parsing and planning happen once. */
  prepared?: boolean
}

const source = store.source([])
const plain = storeStatement(source)
const CHECKS = [
  "context_window_id_length",
  "signal_source_length",
  "dedupe_key_length",
  "signal_score_range",
  "emotional_tone_range",
  "escalate_flag_range",
  "payload_object",
]
const lengths = (expression: (column: string) => string) =>
  ["context_window_id", "signal_source", "dedupe_key"]
    .map((column) => `alter table signals drop constraint signals_${column}_length, ${expression(column)}`)
    .join(";")

const VARIANTS: Variant[] = [
  { name: "as the store sends it" },
  { name: "on conflict (dedupe_key), sorted", text: () => storeStatement(source, { onConflict: true }) },
  {
    name: "on conflict (dedupe_key), unsorted",
    text: () => storeStatement(source, { onConflict: true }).replace("order by dedupe_key, position", ""),
  },
  { name: "ids joined from RETURNING", text: () => storeStatement(source, { joinReturned: true }) },
  { name: "without context index", schema: "drop index signals_context_window_id_time_idx" },
  { name: "without time index", schema: "drop index signals_time_idx" },
  { name: "without source index", schema: "drop index signals_signal_source_time_idx" },
  { name: "without dedupe index", schema: "drop index signals_dedupe_key_idx" },
  {
    name: "without any secondary index",
    schema:
      "drop index signals_context_window_id_time_idx, signals_time_idx, signals_signal_source_time_idx, signals_dedupe_key_idx",
  },
  {
    name: "without primary key and indexes",
    schema:
      "drop index signals_context_window_id_time_idx, signals_time_idx, signals_signal_source_time_idx, signals_dedupe_key_idx; alter table signals drop constraint signals_pkey",
  },
  { name: "without any check", schema: CHECKS.map((name) => `alter table signals drop constraint signals_${name}`).join(";") },
  { name: "octet_length for char_length", schema: lengths((column) => `add check (octet_length(${column}) between 1 and 1020)`) },
  { name: "varchar(255) for char_length", schema: lengths((column) => `alter column ${column} type varchar(255)`) },
  {
    name: "context and source lz4/C collation",
    schema:
      'alter table signals alter column context_window_id type text collate "C", alter column signal_source type text collate "C"',
  },
  {
    name: "payload as json, not jsonb",
    schema: "alter table signals drop constraint signals_payload_object, alter column payload type json",
    text: (t) => t.replace("::jsonb[]", "::json[]"),
  },
  { name: "payload null", params: (params) => params.map((param, i) => (i === 10 ? "" : param)) },
  { name: "prepared once (named)", prepared: true },
  {
    name: "time as epoch micros",
    text: () =>
      storeStatement(source.replace("$2::timestamptz[]", "$2::int8[]"))
        .replace(
          "select nextval('signals_id_seq') as id, signal.*",
          "select nextval('signals_id_seq') as id, context_window_id, to_timestamp(us / 1e6::float8) as time, raw_content, signal_source, signal_score, signal_vector, emotional_tone, escalate_flag, agent_id, user_id, payload, relationship_context, diagnostic_notes, dedupe_key, position",
        )
        .replace("(context_window_id, time, raw", "(context_window_id, us, raw"),
    params: (params) => params.map((param, i) => (i === 1 ? micros(param ?? "") : param)),
  },
  {
    name: "function (plans kept)",
    schema: "@function",
    text: () =>
      `select store_batch(${store
        .params([])
        .map((_, i) => `$${i + 1}`)
        .join(",")}) as ids`,
  },
  {
    name: "input alone: reserve ids, parse",
    text: () =>
      `with input as materialized (select nextval('signals_id_seq') as id, signal.* from ${source}) select string_agg(id::text, ',' order by position) as ids from input`,
  },
  {
    name: "input alone, no nextval",
    text: () =>
      `with input as materialized (select position as id, signal.* from ${source}) select string_agg(id::text, ',' order by position) as ids from input`,
  },
  { name: "synchronous_commit off", schema: "@async" },
]

function micros(literal: string): string {
  return `{${literal
    .slice(1, -1)
    .split(",")
    .map((time) => String(BigInt(Date.parse(time)) * 1000n + BigInt(time.slice(23, 26))))
    .join(",")}}`
}

const database = await startDatabase()
const clients: pg.Client[] = []
const pids: number[] = []
for (const [i, variant] of VARIANTS.entries()) {
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  await client.query(`create schema v${i}; set search_path to v${i}`)
  await migrate(client)
  if (variant.schema === "@function") {
    const body = storeStatement(source)
    await client.query(
      `create function store_batch(${store
        .params([])
        .map(() => "text")
        .join(
          ",",
        )}) returns text language plpgsql as $f$ declare r text; begin ${body.replace(/from ledger$/, "into r from ledger")}; return r; end $f$`,
    )
  } else if (variant.schema === "@async") await client.query("set synchronous_commit = off")
  else if (variant.schema) await client.query(variant.schema)
  clients.push(client)
  pids.push((await client.query("select pg_backend_pid() as pid")).rows[0].pid)
}
const report: Record<string, Record<string, number>> = Object.fromEntries(VARIANTS.map(({ name }) => [name, {}]))
for (const [size, rounds] of [
  [1, 150],
  [500, 50],
] as const) {
  const rows = makeRows(size)
  const sent = store.params(rows)
  const times = VARIANTS.map((): number[] => [])
  const cpus = VARIANTS.map((): number[] => [])
  for (let round = -5; round < rounds; round++) {
    if (round % 10 === 0) for (const [i, client] of clients.entries()) await client.query(`truncate signals, batches`)
    for (let k = 0; k < VARIANTS.length; k++) {
      const i = (k + round + VARIANTS.length) % VARIANTS.length
      const variant = VARIANTS[i] as Variant
      const client = clients[i] as pg.Client
      const text = variant.text?.(plain) ?? plain
      const values = variant.params?.(sent) ?? sent
      const cpu = cpuMs(pids[i] as number)
      const startedAt = performance.now()
      const answer = await client.query({ text, values, ...(variant.prepared && { name: "p" }) }).catch((e) => {
        throw new Error(variant.name + e.message + text)
      })
      if (round >= 0) times[i]?.push(performance.now() - startedAt), cpus[i]?.push(cpuMs(pids[i] as number) - cpu)
    }
  }
  const base = median(cpus[0] as number[])
  for (const [i, { name }] of VARIANTS.entries()) {
    const m = median(times[i] as number[])
    const c = median(cpus[i] as number[])
    Object.assign(report[name] as object, {
      [`${size} ms`]: +m.toFixed(3),
      [`${size} cpu`]: +c.toFixed(3),
      [`${size} diff`]: +(c - base).toFixed(3),
    })
  }
}
console.log(`seed ${SEED}`)
console.table(report)
for (const client of clients) await client.end()
await database.stop()
