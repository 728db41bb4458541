import { readFile } from "node:fs/promises"
import { Client } from "pg"
import { expect, it } from "vitest"
import { startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"

const FOLDER = new URL("../../../drizzle/", import.meta.url)
const ADDS_COLUMN = "0006_when_signals_were_received"

/** The insert of versions that do not know the column. */
const INSERT = `insert into signals (transaction_id, time, context_window_id, signal_source, signal_score, escalate_flag)
  values (gen_random_uuid(), now(), 'c', 's', 0.5, 0)`

it("the migration leaves received_at of stored rows null without rewriting the table, and fills it in for the former version", async () => {
  const postgres = await startTemporaryPostgres()
  const client = new Client({ connectionString: postgres.url })
  await client.connect()
  try {
    const { entries } = JSON.parse(await readFile(new URL("meta/_journal.json", FOLDER), "utf8")) as {
      entries: { tag: string }[]
    }
    const tags = entries.map(({ tag }) => tag)
    const apply = async (tag: string) => client.query(await readFile(new URL(`${tag}.sql`, FOLDER), "utf8"))
    for (const tag of tags.slice(0, tags.indexOf(ADDS_COLUMN))) await apply(tag)
    await client.query(INSERT)
    const file = async () => (await client.query("select pg_relation_filenode('signals') as file")).rows
    const before = await file()

    await apply(ADDS_COLUMN)
    await client.query(INSERT)
    expect(await file()).toEqual(before)
    const { rows } = await client.query(
      "select received_at is null as is_null, received_at = time as is_now from signals order by id",
    )
    expect(rows).toEqual([
      { is_null: true, is_now: null },
      { is_null: false, is_now: true },
    ])
  } finally {
    await client.end()
    await postgres.stop()
  }
})
