import { Client } from "pg"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Storage, startStorage } from "../../setup/rig.ts"

let storage: Storage

beforeAll(async () => {
  storage = await startStorage()
})
afterAll(() => storage?.stop())

const connected = async () => {
  const client = new Client({ connectionString: storage.postgres.url })
  await client.connect()
  return client
}

const TAKE_KEY = "insert into dedupe_keys (key_hash, signal_id) values (dedupe_key_hash($1), 0)"

describe("rows that are stored by halves", () => {
  it("lock their dedupe_keys in the order of the keys, and return their ids in batch order", async () => {
    const [holder, writer, other] = await Promise.all([connected(), connected(), connected()])
    await holder.query("begin")
    await holder.query(TAKE_KEY, ["a"])
    const written = writer.query(
      `select ids from store_signals_by_halves(gen_random_uuid(), 'tests', null, null, 3, '[]', false, '{0,1,2}', '{}', null,
        '{c,c,c}', '{now,now,now}', '{}', '{s,s,s}', '{0.5,0.5,0.5}', '{}', '{}', '{0,0,0}', '{}', '{}', '{}', '{}', '{}', '{b,a,c}')`,
    )
    const waits = () =>
      storage.query("select from pg_locks where not granted and pid = $1", [
        (writer as unknown as { processID: number }).processID,
      ])
    await expect.poll(async () => (await waits()).length).toBe(1)
    // It waits for the first key, and holds no later one yet: this would wait for it in turn.
    await other.query("set lock_timeout = '5s'")
    await other.query(TAKE_KEY, ["b"])
    await holder.query("rollback")
    const [{ ids }] = (await written).rows
    const [first, second, third] = ids.split(",")
    expect([first, Number(third) - Number(second)]).toEqual(["=0", 1])
    await Promise.all([holder.end(), writer.end(), other.end()])
  })
})
