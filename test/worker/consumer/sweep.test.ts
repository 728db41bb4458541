import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { runScheduled } from "../../../src/consumer/scheduled.ts"
import { sweepBucket, sweepKeys } from "../../../src/consumer/sweep.ts"
import { testQueue } from "../ingest/context.ts"
import { bindings, query } from "../service.ts"

const HOUR = 60 * 60 * 1000
const bucket = bindings.BUCKET as R2Bucket
const later = (ms: number) => new Date(Date.now() + ms)

async function empty(): Promise<void> {
  const { objects } = await bucket.list()
  if (objects.length > 0) await bucket.delete(objects.map(({ key }) => key))
}
beforeEach(empty)
afterEach(empty)

/** The objects whose messages one run of the sweep sends. */
async function swept(
  options: { now?: Date; answers?: boolean; backlogCount?: number; from?: R2Bucket } = {},
): Promise<string[]> {
  const queue = testQueue({ backlogCount: options.backlogCount ?? 0 })
  await sweepBucket({ queue, bucket: options.from ?? bucket, now: options.now ?? later(HOUR + 1000) })
  return queue.sent.map((text) => JSON.parse(text).object)
}

describe("the sweep", () => {
  it("sends the message of a claim check again after an hour, in case it was lost", async () => {
    const objects = ["batches/1", "deliveries/2", "messages/3"]
    for (const object of [...objects, "unreadable/4", "idempotency_keys/5"]) await bucket.put(object, "")
    expect(await swept({ now: later(0) })).toEqual([])
    expect(await swept()).toEqual(objects)
  })

  it("sends nothing while the queue is full", async () => {
    await bucket.put("batches/1", "")
    expect(await swept({ backlogCount: 1001 })).toEqual([])
    expect(await swept({ backlogCount: 1000 })).toEqual(["batches/1"])
  })

  it("sends 100 messages in each call, and continues in the next run where a bounded run stopped", async () => {
    const total = 45_000
    const uploaded = new Date(0)
    const keys = Array.from({ length: total }, (_, index) => `deliveries/${String(index).padStart(6, "0")}`)
    let positions = "{}"
    // 45,000 objects take minutes to write: this bucket only lists.
    const from = {
      get: async () => ({ text: async () => positions }),
      put: async (_: string, text: string) => {
        positions = text
      },
      list: async ({ prefix, startAfter = "" }: { prefix: string; startAfter?: string }) => {
        const left = prefix === "deliveries/" ? keys.filter((key) => key > startAfter) : []
        return {
          objects: left.slice(0, 1000).map((key) => ({ key, uploaded })),
          truncated: left.length > 1000,
        }
      },
    } as unknown as R2Bucket
    const runs: string[][] = []
    for (let run = 0; run < 4; run++) runs.push(await swept({ from }))
    expect(runs.map((run) => run.length)).toEqual([20_000, 20_000, 5000, 20_000])
    expect(runs.slice(0, 3).flat()).toEqual(keys)
  })
})

describe("the sweep of idempotency keys", () => {
  const DAY = 24 * HOUR
  const keysLeft = async () =>
    (await bucket.list({ prefix: "idempotency_keys/" })).objects.map(({ key }) => key)

  it("deletes a key after 7 days, unless its batch still waits", async () => {
    await bucket.put("batches/1", "")
    await bucket.put("idempotency_keys/waits", '{"transactionId":"1","requestHash":"h"}')
    await bucket.put("idempotency_keys/stored", '{"transactionId":"2","requestHash":"h"}')
    await bucket.put("idempotency_keys/damaged", "{")
    await bucket.put("unreadable/batches/3", "")
    expect(await sweepKeys(bucket, later(7 * DAY - HOUR))).toBe(0)
    expect(await sweepKeys(bucket, later(7 * DAY))).toBe(2)
    expect(await keysLeft()).toEqual(["idempotency_keys/waits"])
    await bucket.delete("batches/1")
    await runScheduled(bindings, later(7 * DAY))
    expect(await keysLeft()).toEqual([])
    expect(await bucket.head("unreadable/batches/3")).not.toBeNull()
  })

  it("continues where a bounded run stopped, and reads fewer keys while an old batch waits", async () => {
    const all = Array.from(
      { length: 22_000 },
      (_, index) => `idempotency_keys/${String(index).padStart(6, "0")}`,
    )
    const uploaded = new Date(0)
    // 22,000 objects take minutes to write: this bucket only lists and deletes.
    const listing = (batches: string[]) => {
      const keys = new Set(all)
      const runs: number[] = []
      let positions = "{}"
      const from = {
        get: async (key: string) => ({
          text: async () => (key.startsWith("sweep/") ? positions : '{"transactionId":"2"}'),
        }),
        head: async (key: string) => (batches.includes(key) ? {} : null),
        put: async (_: string, text: string) => {
          positions = text
        },
        list: async ({
          prefix,
          startAfter = "",
          limit = 1000,
        }: {
          prefix: string
          startAfter?: string
          limit?: number
        }) => {
          const left = [...(prefix === "batches/" ? batches : keys)].filter((key) => key > startAfter)
          return {
            objects: left.slice(0, limit).map((key) => ({ key, uploaded })),
            truncated: left.length > limit,
          }
        },
        delete: async (some: string[]) => {
          if (some.length > 1000) throw new Error("R2 deletes at most 1,000 objects a call")
          for (const key of some) keys.delete(key)
        },
      } as unknown as R2Bucket
      const run = async () => {
        runs.push(await sweepKeys(from, new Date()))
        return runs
      }
      return { keys, run }
    }
    const idle = listing([])
    await idle.run()
    expect(await idle.run()).toEqual([20_000, 2000])
    expect(idle.keys.size).toBe(0)
    const waiting = listing(["batches/1"])
    await waiting.run()
    expect(await waiting.run()).toEqual([500, 500])
    expect([...waiting.keys][0]).toBe("idempotency_keys/001000")
    // Keys that all stand for a waiting batch stay, and do not hold up those behind them.
    const kept = listing(["batches/2"])
    await kept.run()
    expect(await kept.run()).toEqual([0, 0])
    expect(kept.keys.size).toBe(22_000)
  })
})

describe("the hourly sweep", () => {
  it("releases expired keys even when the bucket fails, and never throws", async () => {
    const id = crypto.randomUUID()
    await query(
      `insert into batches (transaction_id, caller, state, total_count, failed_count, failures, idempotency_key, created_at)
       values ($1::uuid, 'c', 'stored', 0, 0, '[]', $1::text, now() - interval '8 days')`,
      [id],
    )
    const broken = { get: () => Promise.reject(new Error("R2 is away")) } as unknown as R2Bucket
    await runScheduled({ ...bindings, BUCKET: broken }, new Date())
    expect(await query("select idempotency_key from batches where transaction_id = $1::uuid", [id])).toEqual([
      { idempotency_key: null },
    ])
    await runScheduled({ ...bindings, API_KEYS: "nonsense" }, new Date())
  })

  it("counts its runs, and each step that failed by its name", async () => {
    const points: string[][] = []
    const METRICS = { writeDataPoint: ({ blobs }: { blobs: string[] }) => void points.push(blobs) }
    const counted = async (changed: object) => {
      points.length = 0
      await runScheduled({ ...bindings, METRICS, ...changed }, new Date())
      const counted = points.map(([route, , outcome, , , , , code]) => [route, outcome, code])
      // Other tests of this database write rows by hand, without a batch.
      return counted.filter(([, , code]) => code !== "ledger_mismatch")
    }
    expect(await counted({})).toEqual([["CRON sweep", "answered", ""]])
    const away = () => Promise.reject(new Error("R2 is away"))
    expect(await counted({ BUCKET: { get: away, list: away } })).toEqual([
      ["CRON sweep", "error", "bucket_swept"],
      ["CRON sweep", "error", "expired_key_objects_deleted"],
      ["CRON sweep", "error", "keys_copied"],
      ["CRON sweep", "answered", ""],
    ])
    expect(await counted({ DATABASE_HTTP_ENDPOINT: "http://127.0.0.1:9/sql" })).toEqual([
      ["CRON sweep", "error", "scheduled"],
      ["CRON sweep", "answered", ""],
    ])
  })

  it("sends nothing while the database does not answer", async () => {
    await bucket.put("batches/1", "")
    const queue = testQueue()
    const away = {
      ...bindings,
      QUEUE: queue,
      DATABASE_HTTP_ENDPOINT: "http://127.0.0.1:9/sql",
      DATABASE_DEADLINE_MS: "200",
    }
    await runScheduled(away, later(HOUR + 1000))
    expect(queue.sent).toEqual([])
    await runScheduled({ ...bindings, QUEUE: queue }, later(HOUR + 1000))
    expect(queue.sent).toHaveLength(1)
  })
})
