import { Client } from "pg"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { writeBatch } from "../../../src/store/batches/write.ts"
import type { Database } from "../../../src/store/database/connection.ts"
import { eraseStored, finishErasure, releaseSuppressions } from "../../../src/store/lifecycle/erase.ts"
import { type ErasureTarget, enterErasure, findErasure } from "../../../src/store/lifecycle/erasures.ts"
import { type Storage, startStorage } from "../../setup/rig.ts"
import { batchOf, databaseOn, write } from "./statements.ts"

let storage: Storage
let clients: Client[]

beforeAll(async () => {
  storage = await startStorage()
})
afterAll(() => storage?.stop())

beforeEach(async () => {
  await storage.query("truncate signals, batches, dedupe_keys, dead_letters, erasures, suppressions")
  clients = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const client = new Client({ connectionString: storage.postgres.url })
      await client.connect()
      return client
    }),
  )
})
afterEach(() => Promise.all(clients.map((client) => client.end())))

const clientAt = (index: number) => clients[index] as Client

/** As the service does where no bucket is bound. */
async function continueErasure(db: Database, id: string, ms: number): Promise<void> {
  const progress = await eraseStored(db, id, { untilMs: Date.now() + ms, beforeDeadLetters: async () => {} })
  if (progress?.phase === "bucket") await finishErasure(db, id)
}
const run = (client: Client, id: string, ms = 20_000) => continueErasure(databaseOn(client), id, ms)

async function begin(target: ErasureTarget, suppress = true): Promise<string> {
  const db = databaseOn(clientAt(0))
  return (await enterErasure(db, { requestedBy: "tests", target, suppress, idempotency: undefined })).record
    .id
}

const USER = { kind: "user_id", subject: "U1" } as const

/** Rows of many users, enough for several steps, every hundredth of them the erased one's. */
const fill = (rows: number) =>
  storage.query(
    `insert into signals (transaction_id, time, context_window_id, signal_source, signal_score, escalate_flag, user_id)
     select gen_random_uuid(), now(), 'c' || n % 100, 's', 0.5, 0, 'U' || 1 + n % 100 from generate_series(1, $1) as n`,
    [rows],
  )

const fillSubject = (rows: number) =>
  storage.query(
    `insert into signals (transaction_id, time, context_window_id, signal_source, signal_score, escalate_flag, user_id)
     select gen_random_uuid(), now(), 'c', 's', 0.5, 0, 'U1' from generate_series(1, $1)`,
    [rows],
  )

async function fillOthers() {
  await storage.query(
    `insert into dead_letters (transaction_id, index, source, caller, reason, code, record, replay_transaction_id, subject_hashes)
     select gen_random_uuid(), 0, 'signal', 'tests', '', 'out_of_range', jsonb_build_object('user_id', 'U' || 1 + n % 10)::text,
       gen_random_uuid(), array[subject_hash('user_id', 'U' || 1 + n % 10)]
     from generate_series(1, 450) as n`,
  )
  await storage.query(
    `insert into batches (transaction_id, caller, state, total_count, failed_count, failures)
     select gen_random_uuid(), 'tests', 'stored', 1, 1, jsonb_build_array(jsonb_build_object('index', 0, 'code', 'refused_by_database', 'error', 'not "U' || 1 + n % 9 || '".'))
     from generate_series(1, 90) as n`,
  )
}

const left = async () => {
  const [row] = await storage.query<Record<string, number>>(
    `select (select count(*)::int4 from signals) as signals, (select count(*)::int4 from signals where user_id = 'U1') as subject,
      (select count(*)::int4 from dead_letters) as "deadLetters",
      (select count(*)::int4 from batches where strpos(failures::text, 'U1') > 0) as texts`,
  )
  return row
}

describe("a transaction that began before a suppression", () => {
  it("can commit its rows later, and the erasure waits for it and removes them", async () => {
    const [writer, other] = [clientAt(1), clientAt(2)]
    await writer.query("begin")
    await write(writer, [{ context_window_id: "c", user_id: "U1" }])
    const id = await begin(USER)
    await run(clientAt(0), id, 600)
    expect(await storage.query("select phase from erasures")).toEqual([{ phase: "wait" }])
    // One that begins now sees the suppression, and is not waited for.
    await other.query("begin")
    const late = await writeBatch(databaseOn(other), batchOf([{ context_window_id: "c" }])).catch(
      () => undefined,
    )
    expect(late?.failures).toEqual([])
    const running = run(clientAt(0), id)
    await writer.query("commit")
    await running
    expect(await findErasure(databaseOn(clientAt(0)), id)).toMatchObject({
      state: "done",
      erased: { signals: 1 },
    })
    await other.query("commit")
    expect(await left()).toMatchObject({ signals: 1, subject: 0 })
  })

  it("delays the erasure even when it has checked suppressions and written nothing", async () => {
    const writer = clientAt(1)
    await writer.query("begin")
    await writer.query("select is_any_suppressed()")
    const id = await begin(USER)
    await run(clientAt(0), id, 600)
    expect(await storage.query("select phase from erasures")).toEqual([{ phase: "wait" }])
    await writer.query("rollback")
    await run(clientAt(0), id)
    expect(await findErasure(databaseOn(clientAt(0)), id)).toMatchObject({ state: "done" })
  })

  it("can commit an edit later, and the erasure waits for it and removes the signal", async () => {
    const [writer, key] = [clientAt(1), "slack:T/C/1"]
    await write(writer, [{ context_window_id: "c", dedupe_key: key }])
    const edit = batchOf([{ context_window_id: "c", dedupe_key: key, user_id: "U1", raw_content: "a text" }])
    for (const row of edit.plan.rows) row.change = { kind: "edited", at: "2026-01-01T00:00:00Z" }
    await writer.query("begin")
    await writeBatch(databaseOn(writer), edit)
    const id = await begin(USER)
    await run(clientAt(0), id, 600)
    expect(await storage.query("select phase from erasures")).toEqual([{ phase: "wait" }])
    await writer.query("commit")
    await run(clientAt(0), id)
    expect(await findErasure(databaseOn(clientAt(0)), id)).toMatchObject({
      state: "done",
      erased: { signals: 1 },
    })
    expect(await left()).toMatchObject({ signals: 0, subject: 0 })
  })
})

describe("an erasure of several steps", () => {
  const expected = { signals: 450, dead_letters: 45, ledger_texts: 10, waiting_records: 0 }

  it("is done once by four processes at the same time, while others write", async () => {
    await fill(45_000)
    await fillOthers()
    const id = await begin(USER)
    let isDone = false
    const writing = (async () => {
      const client = new Client({ connectionString: storage.postgres.url })
      await client.connect()
      let refused = 0
      while (!isDone) {
        const signals = Array.from({ length: 20 }, (_, n) => ({
          context_window_id: "c",
          user_id: n === 7 ? "U1" : "U2",
        }))
        const { failures } = await writeBatch(databaseOn(client), batchOf(signals))
        expect(failures).toMatchObject([{ index: 7, code: "suppressed" }])
        refused++
      }
      await client.end()
      return refused
    })()
    while ((await findErasure(databaseOn(clientAt(0)), id))?.state !== "done")
      await Promise.all(clients.map((client) => run(client, id)))
    isDone = true
    expect(await writing).toBeGreaterThan(0)
    expect((await findErasure(databaseOn(clientAt(0)), id))?.erased).toEqual(expected)
    expect(await left()).toMatchObject({ subject: 0, deadLetters: 405, texts: 0 })
  })

  it.each(["before", "after"])(
    "that is killed %s any of its statements, and run again, ends in the same state",
    async (when) => {
      let isWhole = false
      await fill(20_500)
      for (let killedAt = 0; !isWhole; killedAt++) {
        await storage.query("truncate batches, dead_letters, erasures, suppressions")
        if (killedAt > 0) await fillSubject(205)
        await fillOthers()
        const id = await begin(USER)
        const db = databaseOn(clientAt(0))
        let statements = 0
        const mortal: Database = {
          ...db,
          async query<Row>(statement: Parameters<Database["query"]>[0]): Promise<Row[]> {
            const isLast = statements++ === killedAt
            if (isLast && when === "before") throw new Error("killed")
            const rows = await db.query<Row>(statement)
            if (isLast) throw new Error("killed")
            return rows
          },
        }
        isWhole = await continueErasure(mortal, id, 20_000).then(
          () => true,
          () => false,
        )
        await run(clientAt(1), id)
        expect(
          await findErasure(databaseOn(clientAt(0)), id),
          `killed at statement ${killedAt}`,
        ).toMatchObject({
          state: "done",
          erased: { ...expected, signals: 205 },
        })
        expect(await left()).toEqual({ signals: 20_295, subject: 0, deadLetters: 405, texts: 0 })
        expect(
          await storage.query("select subject, signal_ids, transaction_ids, waits_for from erasures"),
        ).toEqual([{ subject: null, signal_ids: null, transaction_ids: null, waits_for: null }])
      }
    },
  )

  it("removes all signals of a conversation that has more than one step's number", async () => {
    await storage.query(
      `insert into signals (transaction_id, time, context_window_id, signal_source, signal_score, escalate_flag)
       select gen_random_uuid(), now(), 'long', 's', 0.5, 0 from generate_series(1, 12000)`,
    )
    const id = await begin({ kind: "context_window_id", subject: "long" })
    await Promise.all(clients.map((client) => run(client, id)))
    await run(clientAt(0), id)
    expect(await findErasure(databaseOn(clientAt(0)), id)).toMatchObject({
      state: "done",
      erased: { signals: 12_000 },
    })
    expect(await left()).toMatchObject({ signals: 0 })
  })
})

describe("an erasure without suppression", () => {
  it.each<ErasureTarget>([
    USER,
    { kind: "agent_id", subject: "A1" },
    { kind: "context_window_id", subject: "c1" },
  ])("keeps the signals that were accepted after it while it ran ($kind)", async (target) => {
    const signal = { context_window_id: "c1", user_id: "U1", agent_id: "A1" }
    const [open, writer] = [clientAt(1), clientAt(2)]
    await write(writer, [signal])
    // An open transaction delays the erasure, as a dump of the database does.
    await open.query("begin")
    await open.query("select is_any_suppressed()")
    const id = await begin(target, false)
    const after = await write(writer, [signal])
    await open.query("commit")
    await run(clientAt(0), id)
    expect(await findErasure(databaseOn(clientAt(0)), id)).toMatchObject({
      state: "done",
      erased: { signals: 1 },
    })
    expect(await storage.query("select id::int4 from signals")).toEqual([{ id: after[0]?.[0] }])
  })
})

describe("the refusal of an erasure without suppression", () => {
  it("counts its 90 days from the newest erasure of the subject", async () => {
    await begin(USER, false)
    await storage.query("update suppressions set created_at = now() - interval '91 days'")
    await begin(USER, false)
    expect(await releaseSuppressions(databaseOn(clientAt(0)))).toBe(0)
  })

  it("ends after 90 days, and a permanent one does not", async () => {
    await begin(USER, false)
    await begin({ kind: "agent_id", subject: "A1" })
    await storage.query("update suppressions set created_at = now() - interval '91 days'")

    expect(await releaseSuppressions(databaseOn(clientAt(0)))).toBe(1)
    expect(await storage.query("select kind from suppressions")).toEqual([{ kind: "agent_id" }])
  })
})
