import { Client } from "pg"
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { SIGNAL_INDEXES } from "../../../src/local/postgres/indexes.ts"
import { migrate } from "../../../src/local/postgres/migrate.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"

const NAME = "signals_user_id_idx"

let postgres: LocalPostgres
let client: Client

const connect = async () => {
  const one = new Client({ connectionString: postgres.url })
  await one.connect()
  return one
}

/**
 * The indexes for reads: whether each is valid, and how many partitions have one of each, by whatever name.
 */
async function indexes(): Promise<Record<string, string>> {
  const { rows } = await client.query<{ name: string; state: string }>(
    `select relname as name, indisvalid || ', ' || count(inhrelid) || ' of partitions' as state
     from pg_index join pg_class on pg_class.oid = indexrelid left join pg_inherits on inhparent = indexrelid
     where indrelid = 'signals'::regclass and not indisunique group by relname, indisvalid order by 1`,
  )
  return Object.fromEntries(rows.map(({ name, state }) => [name, state]))
}

/** Indexes that an ended build has left. */
async function broken(): Promise<number> {
  const { rows } = await client.query("select from pg_index where not indisvalid")
  return rows.length
}

/**
 * A transaction that has written to a table: a build waits for its end after it has entered its index, which
 * is not valid yet.
 */
async function openWrite(table: string, id = 1): Promise<Client> {
  const writer = await connect()
  await writer.query("begin")
  await writer.query(
    `insert into ${table} (id, time, transaction_id, context_window_id, signal_source, signal_score, escalate_flag, user_id)
     overriding system value values ($1, now(), gen_random_uuid(), 'c', 's', 0.5, 0, 'u')`,
    [id],
  )
  return writer
}

/** Ends the connection of the build once it waits for writers. */
async function killBuild(): Promise<void> {
  await expect
    .poll(async () => {
      const { rows } = await client.query(
        "select pg_terminate_backend(pid) from pg_stat_progress_create_index where phase like 'waiting for writers%'",
      )
      return rows.length
    })
    .toBe(1)
}

const commit = async (writer: Client) => {
  await writer.query("commit")
  await writer.end()
}

describe("the build of an index", () => {
  let all: Record<string, string>
  let table: string
  /** In the partition. */
  let id: number

  beforeAll(async () => {
    postgres = await startTemporaryPostgres()
    client = await connect()
    await migrate(postgres.url)
    const { rows } = await client.query<{ name: string; to_id: string }>(
      "select name, to_id from signal_partitions limit 1",
    )
    table = rows[0]?.name ?? ""
    id = Number(rows[0]?.to_id)
    all = await indexes()
    expect(Object.keys(all)).toEqual(expect.arrayContaining(SIGNAL_INDEXES.map(({ name }) => name)))
    expect(await broken()).toBe(0)
  })

  afterAll(async () => {
    await client?.end()
    await postgres?.stop()
  })

  beforeEach(() => client.query(`drop index if exists ${NAME}`))

  it("a build that is killed in the middle leaves an index that is not valid, which the next run builds again", async () => {
    const writer = await openWrite(table, --id)
    const killed = migrate(postgres.url).then(
      () => undefined,
      (error: Error) => error,
    )
    await killBuild()
    expect(await killed).toBeInstanceOf(Error)
    expect(await broken()).toBeGreaterThan(0)
    await commit(writer)
    await migrate(postgres.url)
    expect([await indexes(), await broken()]).toEqual([all, 0])
  })

  it("is finished by the other of two runs at once when one of them is killed", async () => {
    const writer = await openWrite(table, --id)
    const runs = [1, 2].map(() =>
      migrate(postgres.url).then(
        () => "done",
        () => "killed",
      ),
    )
    await killBuild()
    await commit(writer)
    expect((await Promise.all(runs)).sort()).toEqual(["done", "killed"])
    expect([await indexes(), await broken()]).toEqual([all, 0])
  })

  it("is made once by two runs at once, while others write", async () => {
    const writer = await openWrite(table, --id)
    const runs = Promise.all([migrate(postgres.url), migrate(postgres.url)])
    await expect
      .poll(async () => (await client.query("select from pg_stat_progress_create_index")).rows.length, {
        interval: 5,
      })
      .toBe(1)
    await commit(writer)
    await runs
    expect([await indexes(), await broken()]).toEqual([all, 0])
  })
})
