import { spawn } from "node:child_process"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { mkdtemp, rm, stat } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type pg from "pg"
import { type Ran, runSignals } from "./cli/run.ts"
import { cpuMs } from "./harness/cpu.ts"
import { openConnection } from "./harness/database.ts"
import { describeMachine } from "./harness/machine.ts"
import { startStack } from "./harness/stack.ts"

/**
 * `npx node bench/round-trip.ts [--rows N] [FORMAT...]`: exports a table, imports the file into an empty one,
 * and compares both in SQL, for ndjson, csv and parquet; before that, the same list as a stream by curl. The
 * deployed bundle on bare workerd in a heap of 128 MiB.
 */
const [given, ...others] =
  process.argv[2] === "--rows" ? process.argv.slice(3) : ["1000000", ...process.argv.slice(2)]
const rows = Number(given)
const formats = others.length > 0 ? others : ["ndjson", "csv", "parquet"]

const FIELDS = `time, context_window_id, raw_content, signal_source, signal_score, signal_vector, emotional_tone, escalate_flag, agent_id,
  user_id, payload, relationship_context, diagnostic_notes, dedupe_key`

/**
 * Each signal has its own time. Some have numbers that exceed a double, null and empty texts, quotes, commas
 * or line breaks.
 */
const FILL = `
  insert into signals (time, received_at, transaction_id, context_window_id, raw_content, signal_source, signal_score, emotional_tone,
    escalate_flag, agent_id, user_id, payload, diagnostic_notes, dedupe_key)
  select timestamptz '2025-01-01' + n * interval '7.000013 seconds', now(), $2, 'conv-' || n % 5000,
    case n % 10 when 0 then null when 1 then '' when 2 then E'two\\r\\nlines, "quoted" ' || n else repeat('the queue is above budget; ', 1 + n % 8) || n end,
    (array['slack', 'kafka', 'api'])[1 + n % 3], random(), case when n % 2 = 0 then random() end, case when n % 50 = 0 then 1 else 0 end,
    'agent-' || n % 20, case when n % 3 > 0 then 'user-' || n % 1000 end,
    case n % 4 when 0 then null when 1 then jsonb_build_object('id', 12345678901234567890::numeric + n, 'x', n / 7.0)
      else jsonb_build_object('channel', 'C' || n, 'tags', jsonb_build_array('deploy', 'a "b"', n)) end,
    case when n % 5 = 0 then '' end, case when n % 3 = 0 then 'key-' || n end
  from generate_series($1::int4, $1::int4 + $3::int4 - 1) as n`

const STEP = 250_000

const cli = (folder: string, address: string, args: readonly string[]): Promise<Ran> =>
  runSignals(args, { folder, address })

async function curl(address: string, format: string): Promise<number> {
  const startedAt = performance.now()
  const child = spawn("curl", ["-sSf", "-o", "/dev/null", `${address}/api/signals/export?format=${format}`], {
    stdio: "inherit",
  })
  const [code] = await once(child, "close")
  if (code !== 0) throw new Error(`curl ended with ${code}`)
  return (performance.now() - startedAt) / 1000
}

/** The most memory that a process has had so far, in MiB. */
const peakOf = (pid: number) =>
  Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024

/** Signals that only one of the tables has. */
async function differences(admin: pg.Client): Promise<number> {
  const { rows: found } = await admin.query<{ count: string }>(`
    select (select count(*) from (select * from original except all select ${FIELDS} from signals) as missing)
      + (select count(*) from (select ${FIELDS} from signals except all select * from original) as added) as count`)
  return Number(found[0]?.count)
}

async function fill(admin: pg.Client): Promise<void> {
  await admin.query("set synchronous_commit = off")
  for (let done = 0; done < rows; done += STEP) {
    const count = Math.min(STEP, rows - done)
    await admin.query("select make_signal_partitions($1::int8)", [count])
    await admin.query(FILL, [done, crypto.randomUUID(), count])
  }
  await admin.query(`create table original as select ${FIELDS} from signals`)
  await admin.query("create table whole as select * from signals")
  await admin.query("vacuum analyze")
}

const IMPORT: Record<string, string> = { ndjson: "jsonl", csv: "csv", parquet: "parquet" }

const stack = await startStack()
const folder = await mkdtemp(join(tmpdir(), "signal-ingest-round-trip-"))
const { client: admin } = await openConnection(stack.postgres.url)
const worker = await stack.startWorker(stack.endpoint.url, { v8Flags: ["--max-heap-size=128"] })
try {
  console.log(`${await describeMachine(admin)}\n`)
  await fill(admin)
  for (const format of ["ndjson", "csv"]) {
    const before = cpuMs(worker.pid)
    const seconds = await curl(worker.address, format)
    const cpu = (cpuMs(worker.pid) - before) / 1000
    console.log(
      `stream as ${format}: ${seconds.toFixed(1)} s, ${cpu.toFixed(1)} s of CPU, workerd at most ${peakOf(worker.pid).toFixed(0)} MiB`,
    )
  }
  console.log("format    export s   peak MiB   file MB   import s   peak MiB   differences")
  for (const format of formats) {
    const file = join(folder, `all.${format}`)
    const out = await cli(folder, worker.address, ["export", "--format", format, "--out", file])
    const { size } = await stat(file)
    await admin.query("truncate signals, batches, dedupe_keys")
    const back = await cli(folder, worker.address, [
      "import",
      IMPORT[format] ?? format,
      file,
      "--concurrency",
      "4",
    ])
    const cells = [out.seconds, out.peakMiB, size / 1e6, back.seconds, back.peakMiB, await differences(admin)]
    console.log(`${format.padEnd(8)}${cells.map((cell) => cell.toFixed(0).padStart(11)).join("")}`)
    await admin.query("truncate signals, batches, dedupe_keys")
    await admin.query("insert into signals overriding system value select * from whole")
    await admin.query("vacuum analyze")
    await rm(file)
  }
} finally {
  await worker.stop()
  await admin.end()
  await stack.stop()
  await rm(folder, { recursive: true, force: true })
}
