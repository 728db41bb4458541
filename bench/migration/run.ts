import { spawn } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { parseArgs } from "node:util"
import { startNeonEndpoint } from "../../src/local/neon/endpoint.ts"
import { startTemporaryPostgres } from "../../src/local/postgres/postgres.ts"
import { createServiceLogin } from "../../src/local/postgres/service-login.ts"
import { ROOT } from "../../src/local/root.ts"
import { migrateUntil } from "../../test/node/store/former-database.ts"
import { buildBundle, runBundle } from "../../test/setup/workerd.ts"
import { openConnection } from "../harness/database.ts"
import { fill } from "./fill.ts"
import { Load } from "./load.ts"

/**
 * `npx node bench/migration/run.ts --rows 10000000 --former DIR`: migrates a filled database to `dedupe_keys`
 * and partitions while first a former version of the service and then this one store batches. Each command is
 * killed and run again. Fails when a signal, an id, a ledger row or a key is lost or stored twice.
 */
const { values } = parseArgs({
  options: {
    rows: { type: "string", default: "10000000" },
    /** A clone of the last version without `dedupe_keys`, with its dependencies installed. */
    former: { type: "string" },
    /** The folder below which the database keeps its data. */
    data: { type: "string", default: "/tmp" },
    senders: { type: "string", default: "4" },
  },
})
if (values.former === undefined)
  throw new Error("--former DIR is missing: a clone of the version before dedupe_keys")
const formerSetup: { buildBundle: typeof buildBundle } = await import(
  join(values.former, "test/setup/workerd.ts")
)

const postgres = await startTemporaryPostgres(values.data)
const endpoint = await startNeonEndpoint()
const { client } = await openConnection(postgres.url)
const ask = async <Row>(text: string) => (await client.query(text)).rows as Row[]

await migrateUntil(postgres.url, "_when_signals_were_received")
const startedAt = Date.now()
const log = (text: string) =>
  console.log(`${((Date.now() - startedAt) / 1000).toFixed(1).padStart(7)} s  ${text}`)
await fill(client, Number(values.rows))
const FACTS = `
  select count(*)::int8 as signals, sum(id)::text as ids, sum(hashtextextended(id || coalesce(dedupe_key, '') || raw_content, 0))::text as hash,
    (select count(*) from batches where caller = 'filled')::int8 as ledger,
    (select sum(hashtextextended(transaction_id || signal_ids, 0))::text from batches where caller = 'filled') as ledger_hash,
    count(dedupe_key)::int8 as keyed
  from signals where transaction_id in (select transaction_id from batches where caller = 'filled')`
const before = (await ask(FACTS))[0]
log(
  `filled: ${JSON.stringify(before)}, ${(await ask<{ size: string }>("select pg_size_pretty(pg_database_size('postgres')) as size"))[0]?.size}`,
)
const oldKeys = new Map(
  (
    await ask<{ key: string; id: string }>(
      "select dedupe_key as key, id from signals where id % 997 = 1 and dedupe_key is not null order by id limit 20000",
    )
  ).map(({ key, id }) => [key, Number(id)]),
)

const settings = {
  DATABASE_URL: await createServiceLogin(postgres.url),
  DATABASE_HTTP_ENDPOINT: endpoint.url,
  OPEN_ACCESS: "true",
}
const formerBundle = await formerSetup.buildBundle()
const bundle = await buildBundle()
const former = await runBundle(formerBundle, settings)

/** Runs a migration command, and kills and restarts it after each of these times before it may finish. */
async function run(script: string, killAfterMs: readonly number[]): Promise<void> {
  for (const killMs of [...killAfterMs, undefined]) {
    const from = Date.now()
    const child = spawn(process.execPath, [join(ROOT, "scripts", script)], {
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, DATABASE_URL: postgres.url },
    })
    const timer = killMs === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), killMs)
    const [code, signal] = await once(child, "exit")
    clearTimeout(timer)
    const progress = await ask("select last_id, finished_at is not null as finished from backfills").catch(
      () => [],
    )
    log(
      `${script} ended after ${Date.now() - from} ms (${signal ?? code}), ${JSON.stringify(progress[0] ?? {})}`,
    )
    if (signal === null && code !== 0) throw new Error(`${script} failed`)
    if (signal === null) return
    // The statement of the killed process ends by itself.
    await sleep(1_000)
  }
}

const load = new Load(oldKeys)
let turn = 0
let addressOf = () => former.address
load.phase("former version, nothing else")
load.start(() => addressOf(), Number(values.senders))
await sleep(15_000)
load.phase("former version, db:migrate (killed twice)")
await run("migrate.ts", [8_000, 45_000])
load.phase("former and new version in turn")
const present = await runBundle(bundle, settings)
addressOf = () => (turn++ % 2 === 0 ? former : present).address
await sleep(15_000)
load.phase("new version, nothing else")
addressOf = () => present.address
await sleep(15_000)
load.phase("new version, db:partition (killed once)")
await run("partition.ts", [3_500])
load.phase("new version, in partitions")
await sleep(15_000)
await load.stop()

const after = (await ask(FACTS))[0]
log(`afterwards: ${JSON.stringify(after)}`)
const stored = new Map(
  (
    await ask<{ text: string; id: string }>(
      "select raw_content as text, id from signals where raw_content like 'load %'",
    )
  ).map(({ text, id }) => [text, Number(id)]),
)
const doubled = await ask(
  "select from signals where raw_content like 'load %' group by raw_content having count(*) > 1",
)
const lost = [...load.acknowledged].filter(([text, id]) => stored.get(text) !== id)
const wrongKeys = await ask(
  "select from signals left join dedupe_keys on key_hash = dedupe_key_hash(dedupe_key) where dedupe_key is not null and signal_id is distinct from id",
)
const [keys] = await ask<{ keys: string; keyed: string }>(
  "select (select count(*) from dedupe_keys) as keys, (select count(dedupe_key) from signals) as keyed",
)
console.table(
  load.phases.map(({ name, seconds, batches, statuses, p50Ms, p99Ms, longestMs }) => ({
    phase: name,
    seconds: Math.round(seconds),
    batches,
    statuses: JSON.stringify(statuses),
    "p50 ms": Math.round(p50Ms),
    "p99 ms": Math.round(p99Ms),
    "longest ms": Math.round(longestMs),
  })),
)
console.table(await ask("select name, from_id, to_id from signal_partitions order by to_id"))
log(
  `${load.acknowledged.size} signals acknowledged, ${lost.length} lost, ${doubled.length} doubled, ${load.wrongAnswers} wrong answers; ` +
    `${keys?.keyed} signals with a key, ${keys?.keys} keys, ${wrongKeys.length} of them wrong`,
)
const kept = JSON.stringify(before) === JSON.stringify(after)
log(
  kept
    ? "Every signal, id, ledger row and key was kept."
    : "Some signals, ids, ledger rows or keys were lost or changed.",
)
if (!kept || lost.length + doubled.length + load.wrongAnswers + wrongKeys.length > 0) process.exitCode = 1

await former.stop()
await present.stop()
await client.end()
await endpoint.stop()
await postgres.stop()
await bundle.remove()
await formerBundle.remove()
