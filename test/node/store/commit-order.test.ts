import { Client } from "pg"
import { afterAll, beforeAll, expect, it } from "vitest"
import { migrate } from "../../../src/local/postgres/migrate.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"
import { OLDEST, readFeed } from "../../../src/store/signals/feed.ts"
import { migrateUntil } from "./former-database.ts"
import { databaseOn, writeAsFormerVersion } from "./statements.ts"

let postgres: LocalPostgres
let client: Client

beforeAll(async () => {
  postgres = await startTemporaryPostgres()
  await migrateUntil(postgres.url, "the_order_of_commits")
  client = new Client({ connectionString: postgres.url })
  await client.connect()
})
afterAll(async () => {
  await client?.end()
  await postgres?.stop()
})

it("the migration gives ledger rows of before the transaction 0 without rewriting them, and those of the former version their own", async () => {
  const file = async () => (await client.query("select pg_relation_filenode('batches') as file")).rows
  await writeAsFormerVersion(client, [null])
  const before = await file()
  await migrate(postgres.url)
  expect(await file()).toEqual(before)

  await client.query("begin")
  const { rows: current } = await client.query("select pg_current_xact_id()::text as xid")
  await writeAsFormerVersion(client, [null])
  await client.query("commit")
  const { rows } = await client.query("select xid::text from batches order by transaction_id")
  expect(rows).toEqual([{ xid: "0" }, ...current])
})

it("the feed of a ledger that was restored from another server's dump is not read until it is put in order", async () => {
  const read = () => readFeed(databaseOn(client), { after: OLDEST, limit: 10 })
  expect((await read()).signals.length).toBe(2)
  await client.query("update batches set xid = '9999999999' where xid <> '0'")
  await expect(read()).rejects.toThrow("the ledger has transactions of another server")
  // The repair of docs/deploy.md.
  await client.query("update batches set xid = '0' where xid >= pg_snapshot_xmax(pg_current_snapshot())")
  expect((await read()).signals.length).toBe(2)
})
