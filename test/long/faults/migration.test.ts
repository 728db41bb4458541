import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { Client } from "pg"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"
import { migrateUntil } from "../../node/store/former-database.ts"
import { write, writeAsFormerVersion } from "../../node/store/statements.ts"

const FILLED = 60_000

let postgres: Awaited<ReturnType<typeof startTemporaryPostgres>>
let admin: Client

const connected = async () => {
  const client = new Client({ connectionString: postgres.url })
  await client.connect()
  return client
}

beforeAll(async () => {
  postgres = await startTemporaryPostgres()
  await migrateUntil(postgres.url, "_dedupe_keys")
  admin = await connected()
  await admin.query(`
    with signal as (
      insert into signals (transaction_id, time, context_window_id, signal_source, signal_score, escalate_flag, dedupe_key)
      select gen_random_uuid(), now(), 'old', 's', 0.5, 0, case when n % 2 = 0 then 'old ' || n end from generate_series(1, ${FILLED}) as n
      returning id, transaction_id
    )
    insert into batches (transaction_id, caller, state, total_count, failed_count, failures, first_signal_id, last_signal_id)
    select transaction_id, 'old', 'stored', 1, 0, '[]', id, id from signal`)
})
afterAll(async () => {
  await admin?.end()
  await postgres?.stop()
})

const start = (script: string) =>
  spawn(process.execPath, [fileURLToPath(new URL(`../../../scripts/${script}.ts`, import.meta.url))], {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, DATABASE_URL: postgres.url },
  })

const codeOf = async (child: ChildProcess) => (await once(child, "exit"))[0] as number | null

/** Runs a command of the owner's, and kills it as soon as `reached`. */
async function kill(script: string, reached: () => Promise<boolean>): Promise<void> {
  const child = start(script)
  const ended = codeOf(child)
  await expect.poll(reached, { interval: 1 }).toBe(true)
  child.kill("SIGKILL")
  await ended
}

const isTrue = async (text: string) =>
  (await admin.query(`select (${text}) as is`).catch(() => undefined))?.rows[0]?.is === true

/** All that the fill has stored, to be compared. */
const facts = async () =>
  (
    await admin.query(`
      select count(*) as signals, sum(id) as ids, count(dedupe_key) as keyed, sum(hashtextextended(id || coalesce(dedupe_key, ''), 0)) as hash,
        (select count(*) from batches where caller = 'old') as ledger
      from signals where context_window_id = 'old'`)
  ).rows

/**
 * Writes until it is stopped: three signals a batch, of which one has a key of its own and one that of a
 * stored signal.
 */
async function writing(store: (client: Client, keys: [string, string], n: number) => Promise<void>) {
  const client = await connected()
  let stopped = false
  let batches = 0
  const ended = (async () => {
    for (; !stopped; batches++)
      await store(
        client,
        [`new ${crypto.randomUUID()}`, `old ${2 + (((batches * 2_222) % FILLED) & ~1)}`],
        batches,
      )
  })()
  return {
    batches: () => batches,
    async stop() {
      stopped = true
      await ended
      await client.end()
      return batches
    },
  }
}

describe("a change of a filled database that is killed, run again, and run by two at once", () => {
  it("keeps every signal, id, ledger row and key, and stores once what both versions write meanwhile", async () => {
    const before = await facts()
    const former = await writing(async (client, [own, old]) => {
      expect(await writeAsFormerVersion(client, [own, old, null])).toEqual([
        expect.stringMatching(/\d/),
        "",
        expect.stringMatching(/\d/),
      ])
    })
    await kill("migrate", () => isTrue("to_regclass('backfills') is not null"))
    await kill("migrate", () => isTrue("select last_id > 20000 from backfills"))
    const migrators = [start("migrate"), start("migrate")]
    expect(await Promise.all(migrators.map(codeOf))).toEqual([0, 0])
    expect(await isTrue("select finished_at is not null from backfills")).toBe(true)

    const present = await writing(async (client, [own, old]) => {
      const stored = await write(
        client,
        [own, old, undefined].map((dedupe_key) => ({ context_window_id: "new", dedupe_key })),
      )
      expect(stored.map(([, duplicate]) => duplicate)).toEqual([false, true, false])
      expect(stored[1]?.[0]).not.toBeNull()
    })
    await expect.poll(present.batches).toBeGreaterThan(20)
    const formerBatches = await former.stop()
    await kill("partition", () =>
      isTrue("exists (select from pg_constraint where conname = 'signals_first_partition')"),
    )
    const partitioners = [start("partition"), start("partition")]
    expect(await Promise.all(partitioners.map(codeOf))).toEqual([0, 0])
    const then = present.batches()
    await expect.poll(present.batches).toBeGreaterThan(then + 20)
    const batches = formerBatches + (await present.stop())

    expect(await facts()).toEqual(before)
    const { rows } = await admin.query(`
      select count(*)::int4 as signals, count(distinct id)::int4 as ids, (select count(*)::int4 from dedupe_keys) as keys,
        count(*) filter (where dedupe_key is not null and signal_id is distinct from id)::int4 as wrong
      from signals left join dedupe_keys on key_hash = dedupe_key_hash(dedupe_key)`)
    const signals = FILLED + 2 * batches
    expect(rows).toEqual([{ signals, ids: signals, keys: FILLED / 2 + batches, wrong: 0 }])
    expect(await isTrue("exists (select from signal_partitions)")).toBe(true)
    // It starts eight processes.
  })
})
