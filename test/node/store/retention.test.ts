import { Client } from "pg"
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { writeBatch } from "../../../src/store/batches/write.ts"
import { connect, type Database } from "../../../src/store/database/connection.ts"
import { makePartitions } from "../../../src/store/database/partitions.ts"
import {
  deleteExpiredBatches,
  deleteExpiredSignals,
  deleteSettledDeadLetters,
  dropExpiredPartitions,
} from "../../../src/store/lifecycle/retention.ts"
import { storageFigures } from "../../../src/store/lifecycle/storage.ts"
import { type Storage, startStorage } from "../../setup/rig.ts"
import { batchOf } from "./statements.ts"

let storage: Storage

const SIZE = 100

/** Empty tables, with partitions of so many ids. */
async function emptyTables(size: number): Promise<void> {
  await storage.query(`create or replace function signal_partition_rows() returns bigint language sql immutable parallel safe
    return ${size}`)
  const names = await storage.query<{ name: string }>("select name from signal_partitions")
  if (names.length > 0) await storage.query(`drop table ${names.map(({ name }) => name).join(", ")}`)
  await storage.query("truncate batches, dedupe_keys, dead_letters, sweep_positions")
  await storage.query("select setval('signals_id_seq', 1, false)")
  await makePartitions(database(), 1000)
}

beforeAll(async () => {
  storage = await startStorage()
})
afterAll(() => storage?.stop())

/** 350 signals, ids 1 to 350, of which the first 250 arrived 40 days ago, in partitions of 100 ids. */
beforeEach(async () => {
  await emptyTables(SIZE)
  for (let batch = 0; batch < 7; batch++)
    await writeBatch(
      database(),
      batchOf(
        Array.from({ length: 50 }, (_, n) => ({ context_window_id: "c", dedupe_key: `${batch} ${n}` })),
      ),
    )
  await storage.query("update signals set received_at = now() - interval '40 days' where id <= 250")
})

/** With the privileges of the service. */
const database = (deadlineMs = 30_000) =>
  connect({
    url: storage.bindings.DATABASE_URL ?? "",
    httpEndpoint: storage.bindings.DATABASE_HTTP_ENDPOINT,
    deadlineMs,
  })

const left = async () => {
  const [row] = await storage.query<{ first: string | null; count: number; partitions: string[] }>(
    `select min(id) as first, count(*)::int4 as count,
      (select array_agg(name order by from_id) from signal_partitions where to_id <= 400) as partitions from signals`,
  )
  return row
}

const sweep = async (db: Database, days: number) => [
  await dropExpiredPartitions(db, days),
  await deleteExpiredSignals(db, days),
]

describe("signals past their retention", () => {
  it("are deleted by whole partitions, and row by row in a partition that has younger ones", async () => {
    expect(await sweep(database(), 30)).toEqual([2, 51])
    expect(await left()).toEqual({ first: "251", count: 100, partitions: ["signals_200", "signals_300"] })
    expect(await sweep(database(), 30)).toEqual([0, 0])
  })

  it("have an announced end: when the newest signal of the oldest partition expires", async () => {
    await storage.query("update signals set received_at = received_at + interval '1 day' where id = 99")
    const { next_drop, oldest_signal, partitions } = await storageFigures(database(), {
      signalDays: 45,
      ledgerDays: 90,
    })
    const [row] = await storage.query<{ oldest: Date; newest: Date }>(
      "select min(received_at) filter (where id = 1) as oldest, max(received_at) filter (where id = 99) as newest from signals",
    )
    expect(Date.parse(oldest_signal ?? "")).toBe(row?.oldest.getTime())
    expect(next_drop?.partition).toBe("signals_0")
    expect(Date.parse(next_drop?.at ?? "")).toBe((row?.newest.getTime() ?? 0) + 45 * 86_400_000)
    expect(partitions[0]).toMatchObject({ name: "signals_0", to_id: SIZE })
    const kept = await storageFigures(database(), { ledgerDays: 90 })
    expect([kept.retention_days, kept.next_drop]).toEqual([null, null])
  })

  it("stay while they are younger, and so does the partition that is being filled, even when all of it is old", async () => {
    expect(await sweep(database(), 41)).toEqual([0, 0])
    await storage.query("update signals set received_at = now() - interval '40 days'")
    expect(await sweep(database(), 30)).toEqual([3, 51])
    expect((await left())?.partitions).toEqual(["signals_300"])
    expect((await writeBatch(database(), batchOf([{ context_window_id: "c" }]))).failures).toEqual([])
  })

  it("keep their dedupe keys taken", async () => {
    await sweep(database(), 30)
    const { stored } = await writeBatch(database(), batchOf([{ context_window_id: "c", dedupe_key: "0 0" }]))
    expect(stored).toEqual([{ index: 0, id: 1, duplicate: true }])
  })

  it("signals that a reader locks are waited for at most 2 seconds, and are deleted in the next run", async () => {
    const reader = new Client({ connectionString: storage.postgres.url })
    await reader.connect()
    await reader.query("begin")
    await reader.query("select from signals where id = 1")
    await expect(dropExpiredPartitions(database(), 30)).rejects.toMatchObject({
      kind: "transient",
      reason: "55P03",
    })
    await reader.query("rollback")
    await reader.end()
    expect(await sweep(database(), 30)).toEqual([2, 51])
  })

  it("are deleted once by three concurrent sweeps while others write", async () => {
    let isSwept = false
    const writing = (async () => {
      while (!isSwept) await writeBatch(database(), batchOf([{ context_window_id: "late" }]))
    })()
    const swept = await Promise.all([1, 2, 3].map(() => sweep(database(), 30)))
    isSwept = true
    await writing
    const sum = (index: number) => swept.reduce((all, one) => all + (one[index] ?? 0), 0)
    expect([sum(0), sum(1)]).toEqual([2, 51])
    expect(await left()).toMatchObject({ first: "251", partitions: ["signals_200", "signals_300"] })
  })

  it("are deleted in the next run when the first was killed", async () => {
    for (const killedAt of [1, 2, 3]) {
      const db = database()
      let statements = 0
      const mortal: Database = {
        ...db,
        async query<Row>(statement: Parameters<Database["query"]>[0]): Promise<Row[]> {
          const rows = await db.query<Row>(statement)
          if (++statements === killedAt) throw new Error("killed")
          return rows
        },
      }
      await sweep(mortal, 30).catch(() => {})
    }
    await sweep(database(), 30)
    expect(await left()).toEqual({ first: "251", count: 100, partitions: ["signals_200", "signals_300"] })
  })

  it("are not deleted for a role that asks for less than one day", async () => {
    expect(await dropExpiredPartitions(database(), 0)).toBe(0)
    expect((await left())?.count).toBe(350)
  })

  it("leave room for later partitions", async () => {
    await sweep(database(), 30)
    await storage.query("select setval('signals_id_seq', 5000)")
    expect(await makePartitions(database())).toBeGreaterThan(0)
    expect((await writeBatch(database(), batchOf([{ context_window_id: "c" }]))).failures).toEqual([])
  })
})

describe("the ledger past its retention", () => {
  const ledger = async () =>
    (
      await storage.query<{ first: string | null }>("select first_signal_id as first from batches order by 1")
    ).map(({ first }) => first)

  it("loses only the rows without a signal and without a key", async () => {
    await storage.query(
      "update batches set created_at = now() - interval '100 days' where first_signal_id <= 301",
    )
    await storage.query("delete from signals where id <= 101 or id = 351")
    await storage.query("update batches set idempotency_key = 'k' where first_signal_id = 51")
    expect(await deleteExpiredBatches(database(), 90)).toMatchObject({ deleted: 1 })
    expect(await ledger()).toEqual(["51", "101", "151", "201", "251", "301"])
    expect(await deleteExpiredBatches(database(), 90)).toMatchObject({ deleted: 0 })
    await storage.query("update batches set idempotency_key = null")
    expect(await deleteExpiredBatches(database(), 90)).toMatchObject({ deleted: 1 })
  })

  describe("a ledger with 20,000 old rows, each with a signal,", () => {
    const ROWS = 20_000
    /**
     * The rows of a run that deletes nothing: one step at the beginning, one at the end, and the five of the
     * round.
     */
    const IDLE = 7 * 1000

    beforeEach(async () => {
      await emptyTables(100_000)
      await storage.query(
        `insert into signals (id, transaction_id, time, signal_score, escalate_flag, context_window_id, signal_source)
         overriding system value
         select n, lpad(to_hex(n), 32, '0')::uuid, now(), 0.5, 0, 'c', 'tests' from generate_series(1, ${ROWS}) as n`,
      )
      await storage.query(
        `insert into batches (transaction_id, created_at, caller, state, total_count, failed_count, failures, first_signal_id, last_signal_id)
         select lpad(to_hex(n), 32, '0')::uuid, now() - interval '100 days', 'tests', 'stored', 1, 0, '[]', n, n
         from generate_series(1, ${ROWS}) as n`,
      )
    })

    it("tests each row once, and few of them in later runs", async () => {
      expect(await deleteExpiredBatches(database(), 90)).toMatchObject({ deleted: 0 })
      for (let run = 0; run < 3; run++) {
        const { deleted, visited } = await deleteExpiredBatches(database(), 90)
        expect(deleted).toBe(0)
        expect(visited).toBeLessThanOrEqual(IDLE)
      }
    })

    it("loses the rows whose signals were dropped, and tests few others", async () => {
      await deleteExpiredBatches(database(), 90)
      await storage.query("delete from signals where id <= 5500")
      const { deleted, visited } = await deleteExpiredBatches(database(), 90)
      expect(deleted).toBe(5500)
      expect(visited).toBeLessThanOrEqual(5500 + IDLE)
      expect((await ledger())[0]).toBe("5501")
    })

    it("loses the rows that became old since the last run", async () => {
      await storage.query("update batches set created_at = now() where first_signal_id > 15000")
      await storage.query("delete from signals where id > 15000 and id % 2 = 0")
      expect(await deleteExpiredBatches(database(), 90)).toMatchObject({ deleted: 0 })
      await storage.query("update batches set created_at = now() - interval '100 days'")
      const { deleted, visited } = await deleteExpiredBatches(database(), 90)
      expect(deleted).toBe(2500)
      expect(visited).toBeLessThanOrEqual(5000 + IDLE)
    })

    it("loses the rows whose signals were erased one by one, within one round", async () => {
      await deleteExpiredBatches(database(), 90)
      await storage.query("delete from signals where id in (4321, 12345, 19999)")
      let deleted = 0
      for (let run = 0; run < ROWS / 5000 + 1; run++)
        deleted += (await deleteExpiredBatches(database(), 90)).deleted
      expect(deleted).toBe(3)
    })

    it("continues where a run was killed, and loses no other row when two run at once", async () => {
      let statements = 0
      const db = database()
      const mortal: Database = {
        ...db,
        async query<Row>(statement: Parameters<Database["query"]>[0]): Promise<Row[]> {
          if (++statements > 11) throw new Error("killed")
          return db.query<Row>(statement)
        },
      }
      await expect(deleteExpiredBatches(mortal, 90)).rejects.toThrow("killed")
      // Of the first eleven steps one was at the beginning.
      const { visited } = await deleteExpiredBatches(database(), 90)
      expect(visited).toBeLessThanOrEqual(ROWS - 10_000 + IDLE)
      await storage.query("delete from signals where id <= 3000")
      const runs = await Promise.all([1, 2].map(() => deleteExpiredBatches(database(), 90)))
      expect(runs.reduce((sum, run) => sum + run.deleted, 0)).toBe(3000)
      expect((await ledger()).length).toBe(ROWS - 3000)
    })
  })

  it("loses replayed and discarded dead letters, and no waiting one", async () => {
    await storage.query(
      `insert into dead_letters (created_at, transaction_id, index, source, caller, reason, code, record, replay_transaction_id, state)
       select now() - make_interval(days => days), gen_random_uuid(), 0, 'signal', 'tests', '', 'unreadable_record', '{}', gen_random_uuid(), state
       from unnest(array['waiting', 'replayed', 'discarded']) as state, unnest(array[100, 10]) as days`,
    )
    expect(await deleteSettledDeadLetters(database(), 90)).toBe(2)
    const kept = await storage.query(
      "select state, count(*)::int4 as count from dead_letters group by 1 order by 1",
    )
    expect(kept).toEqual([
      { state: "discarded", count: 1 },
      { state: "replayed", count: 1 },
      { state: "waiting", count: 2 },
    ])
  })
})
