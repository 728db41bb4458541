import { Client } from "pg"
import { describe, expect, it } from "vitest"
import type { Signal } from "../../../src/signals/schema.ts"
import { writeDeliveries } from "../../../src/store/batches/deliveries.ts"
import { writeBatch } from "../../../src/store/batches/write.ts"
import { makePartitions } from "../../../src/store/database/partitions.ts"
import { useSmallPartitions } from "./small-partitions.ts"
import { batchOf } from "./statements.ts"

const SIZE = 100

const { storage, database } = useSmallPartitions(SIZE)

const signals = (count: number, more: (index: number) => Partial<Signal> = () => ({})): Signal[] =>
  Array.from({ length: count }, (_, index) => ({
    context_window_id: "c",
    raw_content: String(index),
    ...more(index),
  }))

const partitions = () =>
  storage.query<{ from: string; to: string }>(
    `select from_id as from, to_id as to from signal_partitions order by from_id`,
  )

const counts = async () =>
  (
    await storage.query<{ signals: number; ids: number; told: number }>(
      `select count(*)::int4 as signals, count(distinct id)::int4 as ids,
        (select coalesce(sum(total_count - failed_count), 0)::int4 from batches) as told from signals`,
    )
  )[0]

describe("a write of signals whose ids have no partition", () => {
  it("creates the partition, and is stored", async () => {
    const { stored, failures } = await writeBatch(database(), batchOf(signals(20)))
    expect([stored.length, failures]).toEqual([20, []])
    expect(await counts()).toEqual({ signals: 20, ids: 20, told: 20 })
  })

  it("is stored at any size, however many ids were used since the last partition was created", async () => {
    await makePartitions(database())
    await storage.query("select setval('signals_id_seq', 1000000000000)")
    expect((await writeBatch(database(), batchOf(signals(2000)))).stored).toHaveLength(2000)
    expect(await counts()).toEqual({ signals: 2000, ids: 2000, told: 2000 })
    // Nothing was made for the ids in between.
    expect((await partitions()).length).toBeLessThan(300)
  })

  it("is stored row by row too, except the rows that the database refuses", async () => {
    const batch = batchOf(signals(300, (index) => ({ dedupe_key: `key ${index}` })))
    // No rule lets such a value through: only the database refuses it.
    for (const row of batch.plan.rows.slice(0, 1)) row.signalScore = 7
    const { stored, failures } = await writeBatch(database(), batch)
    expect(failures).toMatchObject([
      { index: 0, error: expect.stringContaining("signals_signal_score_range") },
    ])
    expect(stored).toHaveLength(299)
    expect(stored.every(({ id, duplicate }) => id !== null && !duplicate)).toBe(true)
    expect(await counts()).toEqual({ signals: 299, ids: 299, told: 299 })
  })

  it("is stored once when many writes and the cron find the same missing partition at once", async () => {
    const sizes = Array.from({ length: 48 }, (_, number) => 1 + ((number * 37) % 400))
    const writers = Array.from({ length: 8 }, async (_, writer) => {
      for (const [number, size] of sizes.entries()) {
        if (number % 8 !== writer) continue
        const batch = batchOf(
          signals(size, (index) => (index % 3 === 0 ? { dedupe_key: `${number} ${index}` } : {})),
        )
        if (number % 2 === 0)
          await writeDeliveries(database(), [
            { batch: { ...batch, allOrNothing: false, idempotency: undefined }, deadLetters: [] },
          ])
        else await writeBatch(database(), batch)
      }
    })
    const cron = Array.from({ length: 4 }, () => makePartitions(database()))
    await Promise.all([...writers, ...cron])
    const total = sizes.reduce((sum, size) => sum + size)
    expect(await counts()).toEqual({ signals: total, ids: total, told: total })
    const ranges = await partitions()
    expect(
      ranges.every(({ from }, index) => index === 0 || Number(from) >= Number(ranges[index - 1]?.to)),
    ).toBe(true)
  })
})

describe("partitions that are made ahead", () => {
  it("hold the ids of one more partition, and are created without a wait by them or by reads and writes", async () => {
    expect(await makePartitions(database())).toBe(2)
    expect(await makePartitions(database())).toBe(0)
    const [reader, writer] = [0, 1].map(() => new Client({ connectionString: storage.postgres.url })) as [
      Client,
      Client,
    ]
    await Promise.all([reader.connect(), writer.connect()])
    await reader.query("begin")
    await reader.query("select count(*) from signals")
    await writer.query("begin")
    await writer.query(
      "insert into signals (transaction_id, time, context_window_id, signal_source, signal_score, escalate_flag) values (gen_random_uuid(), now(), 'c', 's', 0.5, 0)",
    )
    await storage.query(`select setval('signals_id_seq', ${SIZE + 1})`)
    expect(await makePartitions(database())).toBe(1)
    await Promise.all([reader.query("commit"), writer.query("commit")])
    await Promise.all([reader.end(), writer.end()])
    expect(await partitions()).toEqual([
      { from: "0", to: "100" },
      { from: "100", to: "200" },
      { from: "200", to: "300" },
    ])
  })

  it("are created for at most a million ids at once", async () => {
    await storage.query(`create or replace function signal_partition_rows() returns bigint language sql immutable parallel safe
      return 500000`)
    expect(await makePartitions(database(), Number.MAX_SAFE_INTEGER)).toBe(4)
  })
})
