import { Client } from "pg"
import { afterAll, beforeAll, expect, it } from "vitest"
import { migrate } from "../../../src/local/postgres/migrate.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"
import { OLDEST, readFeed } from "../../../src/store/signals/feed.ts"
import { databaseOn, write } from "./statements.ts"

let postgres: LocalPostgres
let client: Client

beforeAll(async () => {
  postgres = await startTemporaryPostgres()
  await migrate(postgres.url)
  client = new Client({ connectionString: postgres.url })
  await client.connect()
})
afterAll(async () => {
  await client?.end()
  await postgres?.stop()
})

it("the feed of a ledger that was restored from another server's dump is not read until it is put in order", async () => {
  for (const raw_content of ["one", "two"]) await write(client, [{ context_window_id: "c", raw_content }])
  const read = () => readFeed(databaseOn(client), { after: OLDEST, limit: 10, ledgerDays: 90 })
  expect((await read()).signals.length).toBe(2)
  await client.query("update batches set xid = '9999999999'")
  await expect(read()).rejects.toThrow("the ledger has transactions of another server")
  // The repair of docs/deploy.md.
  await client.query("update batches set xid = '0' where xid >= pg_snapshot_xmax(pg_current_snapshot())")
  expect((await read()).signals.length).toBe(2)
})
