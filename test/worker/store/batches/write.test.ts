import { describe, expect, it } from "vitest"
import { NO_SCORES } from "../../../../src/signals/answer.ts"
import { writeDeliveries } from "../../../../src/store/batches/deliveries.ts"
import { recordFailedBatch } from "../../../../src/store/batches/failed.ts"
import { writeBatch } from "../../../../src/store/batches/write.ts"
import { delivery } from "../../consumer/messages.ts"
import { countOf, freshConversation } from "../../service.ts"
import { batchOf, database } from "./batch-of.ts"

const key = () => `key-${crypto.randomUUID()}`

describe("the counts of a written batch", () => {
  it("distinguish new signals from duplicates, of earlier batches and of the batch itself", async () => {
    const context_window_id = freshConversation()
    const [first, second] = [key(), key()]
    await writeBatch(database(), batchOf([{ context_window_id, dedupe_key: first }]))
    const batch = batchOf([
      { context_window_id, dedupe_key: first },
      { context_window_id },
      { context_window_id, dedupe_key: second },
      { context_window_id, dedupe_key: second },
    ])
    const written = await writeBatch(database(), batch)
    expect([written.stored.length, written.duplicates]).toEqual([4, 2])
    const again = await writeBatch(database(), batch)
    expect([again.stored, again.duplicates]).toEqual([written.stored, 2])
    expect(await countOf(context_window_id)).toBe(3)
  })
})

describe("the counts of written deliveries", () => {
  it("distinguish new signals from duplicates, and count nothing that an earlier call stored", async () => {
    const context_window_id = freshConversation()
    const shared = key()
    const signal = { context_window_id, signal_source: "slack" }
    const one = delivery([{ ...signal, dedupe_key: shared }, signal])
    const other = delivery([{ ...signal, signal_source: "kafka", dedupe_key: shared }])
    expect(await writeDeliveries(database(), [one, other, one])).toEqual({
      stored: 2,
      sources: new Map([["slack", 2]]),
      duplicates: 1,
      failures: [],
      refused: [],
      suppressed: [],
      scores: NO_SCORES,
    })
    const nothing = {
      stored: 0,
      sources: new Map(),
      duplicates: 0,
      failures: [],
      refused: [],
      suppressed: [],
      scores: NO_SCORES,
    }
    expect(await writeDeliveries(database(), [one, other])).toEqual(nothing)
    expect(await countOf(context_window_id)).toBe(2)
  })

  it("are the same when the database refuses a signal and each is written alone", async () => {
    const context_window_id = freshConversation()
    const shared = key()
    await writeBatch(database(), batchOf([{ context_window_id, dedupe_key: shared }]))
    const good = delivery([{ context_window_id }])
    const mixed = delivery([{ context_window_id, dedupe_key: shared }, { context_window_id }])
    // No rule lets such a value through: only the database refuses it.
    const [row] = mixed.batch.plan.rows.slice(1)
    if (row) row.signalScore = 7
    const { refused, ...counts } = await writeDeliveries(database(), [good, mixed])
    expect(counts).toEqual({
      stored: 1,
      sources: new Map([["unknown", 1]]),
      duplicates: 1,
      failures: refused,
      suppressed: [],
      scores: NO_SCORES,
    })
    expect(refused).toMatchObject([{ index: 1 }])
  })
})

describe("a batch that the ledger has as failed", () => {
  it("stays failed, and stores nothing, when it is redelivered", async () => {
    const context_window_id = freshConversation()
    const batch = batchOf([{ context_window_id }, { context_window_id }])
    const failures = [
      {
        index: 1,
        error: "refused by the database: why",
        code: "refused_by_database" as const,
        retryable: false,
      },
    ]
    await recordFailedBatch(database(), batch, { reason: "The database refused signals.", failures })
    expect(await writeBatch(database(), batch)).toEqual({
      transactionId: batch.transactionId,
      receivedAt: expect.any(String),
      state: "failed",
      replayed: false,
      isNew: false,
      failures,
      stored: [],
      duplicates: 0,
    })
    expect(await countOf(context_window_id)).toBe(0)
  })
})
