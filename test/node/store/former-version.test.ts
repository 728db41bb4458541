import { Client } from "pg"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { type PlainStorage, startPlainStorage } from "./former-database.ts"
import { write, writeAsFormerVersion } from "./statements.ts"

let storage: PlainStorage
let former: Client
let present: Client

beforeAll(async () => {
  storage = await startPlainStorage()
})
afterAll(() => storage?.stop())

beforeEach(async () => {
  await storage.query("truncate signals, batches, dedupe_keys")
  ;[former, present] = [0, 1].map(() => new Client({ connectionString: storage.url })) as [Client, Client]
  await Promise.all([former.connect(), present.connect()])
})
afterEach(() => Promise.all([former.end(), present.end()]))

const signals = (...keys: string[]) =>
  keys.map((dedupe_key) => ({ context_window_id: "present", dedupe_key }))

const waits = (client: Client) =>
  expect
    .poll(() =>
      storage.query("select from pg_locks where not granted and pid = $1", [
        (client as unknown as { processID: number }).processID,
      ]),
    )
    .toHaveLength(1)

/** Which version's signal holds each key, and whether the key's entry names it. */
const holders = () =>
  storage.query(
    `select dedupe_key as key, context_window_id as by from signals
    join dedupe_keys on signal_id = id and key_hash = dedupe_key_hash(dedupe_key) order by dedupe_key`,
  )

const counts = async () =>
  (
    await storage.query(
      "select (select count(*)::int4 from signals) as signals, (select count(*)::int4 from dedupe_keys) as keys",
    )
  )[0]

describe("a signal that the former and the present version write with the same dedupe_key", () => {
  it("is that of the former version when it came first, and is stored by the present one when that rolls back", async () => {
    await former.query("begin")
    const ids = await writeAsFormerVersion(former, ["a", "b"])
    const written = write(present, signals("b", "a", "c"))
    await waits(present)
    await former.query("commit")
    expect(await written).toEqual([
      [Number(ids[1]), true],
      [Number(ids[0]), true],
      [expect.any(Number), false],
    ])
    expect(await holders()).toEqual([
      { key: "a", by: "former" },
      { key: "b", by: "former" },
      { key: "c", by: "present" },
    ])

    await former.query("begin")
    await writeAsFormerVersion(former, ["d"])
    const alone = write(present, signals("d"))
    await waits(present)
    await former.query("rollback")
    expect(await alone).toEqual([[expect.any(Number), false]])
    expect(await counts()).toEqual({ signals: 4, keys: 4 })
  })

  it("is that of the present version when it came first, and is stored by the former one when that rolls back", async () => {
    await present.query("begin")
    await write(present, signals("b", "a"))
    const written = writeAsFormerVersion(former, ["a", "b", "c", null])
    await waits(former)
    await present.query("commit")
    expect(await written).toEqual(["", "", expect.stringMatching(/^\d+$/), expect.stringMatching(/^\d+$/)])
    expect((await holders()).map((row) => (row as { by: string }).by)).toEqual([
      "present",
      "present",
      "former",
    ])

    await present.query("begin")
    await write(present, signals("d"))
    const alone = writeAsFormerVersion(former, ["d"])
    await waits(former)
    await present.query("rollback")
    expect(await alone).toEqual([expect.stringMatching(/^\d+$/)])
    expect(await counts()).toEqual({ signals: 5, keys: 4 })
  })

  it("is stored once when many of both write at once, in whatever order the keys are, without a deadlock", async () => {
    const before = await storage.query(
      "select deadlocks from pg_stat_database where datname = current_database()",
    )
    const clients = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const client = new Client({ connectionString: storage.url })
        await client.connect()
        return client
      }),
    )
    const keys = Array.from({ length: 40 }, (_, number) => `key ${number}`)
    for (let round = 0; round < 10; round++) {
      const shuffled = () => [...keys].sort(() => Math.random() - 0.5).map((key) => `${round} ${key}`)
      await Promise.all(
        clients.map((client, number) =>
          number % 2 === 0 ? writeAsFormerVersion(client, shuffled()) : write(client, signals(...shuffled())),
        ),
      )
    }
    await Promise.all(clients.map((client) => client.end()))
    expect(await counts()).toEqual({ signals: 400, keys: 400 })
    expect(await holders()).toHaveLength(400)
    expect(
      await storage.query("select deadlocks from pg_stat_database where datname = current_database()"),
    ).toEqual(before)
  })

  it("keeps its key when it is deleted, for both", async () => {
    const [[id]] = (await write(present, signals("a"))) as [[number, boolean]]
    await storage.query("delete from signals")
    expect(await write(present, signals("a"))).toEqual([[id, true]])
    expect(await writeAsFormerVersion(former, ["a"])).toEqual([""])
    expect(await counts()).toEqual({ signals: 0, keys: 1 })
  })

  it("is that of a row whose key is not entered yet, when the former version sends it again", async () => {
    const [id] = await writeAsFormerVersion(former, ["a"])
    await storage.query("truncate dedupe_keys")
    expect(await writeAsFormerVersion(former, ["a", "a"])).toEqual(["", ""])
    expect(await storage.query("select signal_id as id from dedupe_keys")).toEqual([{ id }])
  })
})
