import { readFile } from "node:fs/promises"
import { Client } from "pg"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { migrate } from "../../../../src/local/postgres/migrate.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../../../../src/local/postgres/postgres.ts"
import { auditPage } from "../../../../src/store/audit/pages.ts"
import { AUDIT_PARTS } from "../../../../src/store/audit/records.ts"
import { OLDEST, readFeed } from "../../../../src/store/signals/feed.ts"
import { databaseOn } from "../../store/statements.ts"
import { describeCatalog } from "./catalog.ts"

const FIXTURE = new URL("version-0.sql", import.meta.url)

let postgres: LocalPostgres
/** Of this test's database. */
let url: string
let client: Client

beforeAll(async () => {
  postgres = await startTemporaryPostgres()
})
afterAll(() => postgres?.stop())

beforeEach(async () => {
  url = await emptyDatabase()
  client = await connect()
  await client.query(await readFile(FIXTURE, "utf8"))
})
afterEach(() => client.end())

async function emptyDatabase(): Promise<string> {
  const name = `test_${crypto.randomUUID().replaceAll("-", "")}`
  const owner = await connect(postgres.url)
  await owner.query(`create database ${name}`)
  await owner.end()
  return Object.assign(new URL(postgres.url), { pathname: name }).href
}

async function connect(database = url): Promise<Client> {
  const connected = new Client({ connectionString: database })
  connected.on("error", () => {})
  await connected.connect()
  return connected
}

const all = async <Row>(text: string) => (await client.query(text)).rows as Row[]

const isTrue = async (condition: string) => (await all<{ is: boolean }>(`select ${condition} as is`))[0]?.is

const names = async () =>
  (
    JSON.parse(
      await readFile(new URL("../../../../drizzle/meta/_journal.json", import.meta.url), "utf8"),
    ) as { entries: { tag: string }[] }
  ).entries.map(({ tag }) => tag)

/** The schema of a new database. */
async function newCatalog(): Promise<string[]> {
  const empty = await emptyDatabase()
  await migrate(empty)
  const fresh = await connect(empty)
  try {
    return await describeCatalog(fresh)
  } finally {
    await fresh.end()
  }
}

/** Without the function by which the former version stores refused rows until 1.0 is deployed. */
const adoptedCatalog = async () =>
  (await describeCatalog(client)).filter((line) => !line.includes("store_signals_one_by_one("))

const ROWS = "select * from signals order by id"

const withoutTime = (rows: { received_at: Date | null }[]) => rows.map(({ received_at: _, ...row }) => row)

describe("a database of the last version before 1.0", () => {
  it("gets the schema of a new one, and keeps every row", async () => {
    // Too long for the former index, whose build then failed at every migration.
    await client.query("drop index signals_user_idx, signals_newest_idx")
    await client.query(`insert into signals (time, transaction_id, context_window_id, signal_source, signal_score, escalate_flag, user_id, agent_id)
      select now(), gen_random_uuid(), 'c', 's', 0.5, 0, long, long
      from (select string_agg(chr(128512 + (random() * 50)::int), '') as long from generate_series(1, 3000)) as text`)
    const before = await all<{ received_at: Date | null }>(ROWS)
    expect(await migrate(url)).toEqual(await names())
    expect(await adoptedCatalog()).toEqual(await newCatalog())
    const after = await all<{ received_at: Date | null }>(ROWS)
    expect(withoutTime(after)).toEqual(withoutTime(before))
    expect(after.filter((_, position) => before[position]?.received_at !== null)).toEqual(
      before.filter(({ received_at }) => received_at !== null),
    )
    expect(
      await all("select key_hash = dedupe_key_hash('one') as is_own, signal_id from dedupe_keys"),
    ).toEqual([{ is_own: true, signal_id: "1" }])
    expect(await migrate(url)).toEqual([])
  })

  it("gets the values that its earliest rows lack", async () => {
    await migrate(url)
    expect(
      await all("select distinct received_at from signals where transaction_id::text like '%1'"),
    ).toEqual([{ received_at: new Date("2025-01-15T09:30:00.123Z") }])
    expect(
      await all("select right(transaction_id::text, 1) as batch, signal_ids from batches order by 1"),
    ).toEqual([
      { batch: "1", signal_ids: "1:1,3:1,0:1" },
      { batch: "2", signal_ids: "4:1,6:1,0:1" },
      { batch: "3", signal_ids: "" },
      { batch: "4", signal_ids: "7:2" },
    ])
    expect(
      await all(
        "select failure ->> 'code' as code, failure -> 'retryable' as retryable from batches, jsonb_array_elements(failures) as failure order by transaction_id",
      ),
    ).toEqual([
      { code: "out_of_range", retryable: false },
      { code: "refused_by_database", retryable: false },
      { code: "blank", retryable: false },
    ])
    expect(await all("select code from dead_letters order by id")).toEqual([
      { code: "refused_by_database" },
      { code: "unreadable_record" },
      { code: "blank" },
    ])
    expect(
      await all(
        "select subject_hashes = array[subject_hash('context_window_id', 'c')] as is_known from dead_letters order by id",
      ),
    ).toEqual([{ is_known: true }, { is_known: false }, { is_known: false }])
    const { signals, more } = await readFeed(databaseOn(client), {
      after: OLDEST,
      limit: 100,
      ledgerDays: 90,
    })
    expect([signals.map(({ id }) => id), more]).toEqual([[1, 3, 4, 6, 7, 8], false])
  })
})

describe("an adoption that is killed", () => {
  it("continues at the next start after any statement, while the former version writes", async () => {
    let done = false
    let wrote = 0
    const service = await connect()
    const writing = (async () => {
      for (; !done; wrote++)
        await service.query(`
          with signal as (
            insert into signals (time, transaction_id, context_window_id, signal_source, signal_score, escalate_flag)
            values (now(), gen_random_uuid(), 'meanwhile', 's', 0.5, 0) returning id, transaction_id
          )
          insert into batches (transaction_id, caller, state, total_count, failed_count, failures, first_signal_id, last_signal_id, signal_ids)
          select transaction_id, 'meanwhile', 'stored', 1, 0, '[]', id, id, id || ':1' from signal`)
    })()

    // Each of these locks stops it at another step.
    await killAt(
      "select from signals where id = 1 for update",
      "exists (select from pg_locks where not granted)",
    )
    await killAt(
      "select from dead_letters where id = 1 for update",
      "not exists (select from signals where received_at is null)",
    )
    await killAt(
      "select from batches where transaction_id::text like '%2' for update",
      "not exists (select from dead_letters where code is null)",
    )
    await killAt(
      "lock table batches in access share mode",
      "not exists (select from batches where signal_ids is null)",
    )
    await killAt(
      "lock table signals in access share mode",
      "exists (select from pg_constraint where conname = 'signal_ids_never_null')",
    )
    await killAt(
      "lock table dead_letters in access share mode",
      "exists (select from pg_constraint where conname = 'received_at_never_null' and convalidated)",
    )
    await Promise.all([migrate(url), migrate(url)])
    done = true
    await writing
    await service.end()

    expect(await adoptedCatalog()).toEqual(await newCatalog())
    expect(
      await all("select count(*)::int4 as count from signals where context_window_id = 'meanwhile'"),
    ).toEqual([{ count: wrote }])
    expect(await all("select signal_ids from batches where caller = 'a' order by transaction_id")).toEqual(
      ["1:1,3:1,0:1", "4:1,6:1,0:1", "", "7:2"].map((signal_ids) => ({ signal_ids })),
    )
  }, 120_000)

  /** Holds a lock, and ends the connection of the migration as soon as it has come so far. */
  async function killAt(lock: string, reached: string): Promise<void> {
    const holder = await connect()
    await holder.query("begin")
    await holder.query(lock)
    const killed = migrate(url).then(
      () => "migrated",
      () => "killed",
    )
    await expect.poll(() => isTrue(reached), { timeout: 60_000 }).toBe(true)
    await client.query(
      "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = 7305501 and granted",
    )
    expect(await killed).toBe("killed")
    await holder.query("rollback")
    await holder.end()
  }
})

describe("an adopted database", () => {
  it("has nothing that an audit finds", async () => {
    await migrate(url)
    for (const part of AUDIT_PARTS) {
      const page = await auditPage(databaseOn(client), { part, after: "" }, 1000)
      expect(page, part).toMatchObject({ mismatchCount: 0, after: null })
      expect(page.checked, part).toBeGreaterThan(0)
    }
  })
})

describe("another database of a version before 1.0", () => {
  it.each([
    ["that is not at its last migration", "delete from drizzle.__drizzle_migrations where hash <> 'former'"],
    ["whose last migration is another's", "update drizzle.__drizzle_migrations set hash = 'other'"],
    ["with an unfinished backfill", "update backfills set finished_at = null"],
    ["that is not partitioned", "drop table signals; create table signals (id bigint)"],
  ])("%s is left as it is, with the commit to run first", async (_, change) => {
    await client.query(change)
    const before = await describeCatalog(client)
    await expect(migrate(url)).rejects.toThrow(
      /^This database was made by a version before 1\.0, .* Check out commit 59a271e, run npm ci, npm run db:migrate and npm run db:partition there/,
    )
    expect(await describeCatalog(client)).toEqual(before)
  })
})
