import { describe, expect, it } from "vitest"
import { FieldMapping, mapKafkaRecord } from "../../../src/bridges/kafka/mapping.ts"
import { planDelivery } from "../../../src/bridges/plan-delivery.ts"
import { acceptDelivery } from "../../../src/ingest/accept-delivery.ts"
import type { Delivered } from "../../../src/signals/plan.ts"
import {
  keepValues,
  MAX_RECORD_BYTES,
  MAX_STATEMENT_CHARACTERS,
} from "../../../src/store/dead-letters/bound-record.ts"
import { countOf, freshConversation, query } from "../service.ts"
import { testContext, testQueue, unreachable } from "./context.ts"

const received = (delivered: Delivered[]) => ({
  source: "kafka" as const,
  caller: "webhook:kafka",
  records: delivered,
  plan: planDelivery(delivered, "2026-01-02T03:04:05.000000Z"),
})

const deadLetters = (transactionId: string | undefined) =>
  query(
    "select index, reason, record, truncated from dead_letters where transaction_id = $1 order by index",
    [transactionId],
  )

describe("a delivery", () => {
  it("goes to the queue whole, so that the database need not answer", async () => {
    const queue = testQueue()
    const delivered = [
      { signal: { context_window_id: "c" } },
      { refused: "no key" },
      { skipped: "tombstone" },
    ]
    const { answer, queueError } = await acceptDelivery(
      testContext({ queue, db: unreachable() }),
      received(delivered),
    )
    expect(answer).toMatchObject({
      state: "queued",
      total_count: 2,
      accepted_count: 1,
      failed_count: 1,
      skipped: { tombstone: 1 },
    })
    expect(queueError).toBeUndefined()
    expect(queue.sent).toHaveLength(1)
  })

  it("goes to the database when the queue fails, with its dead letters, and returns the error for the log", async () => {
    const conversation = freshConversation()
    const queue = testQueue({ failure: new Error("Too Many Requests") })
    const delivered = [{ signal: { context_window_id: conversation } }, { refused: "no key" }]
    const { answer, queueError } = await acceptDelivery(testContext({ queue }), received(delivered))
    expect(answer).toMatchObject({
      state: "stored",
      accepted_count: 1,
      failures: [{ index: 1, error: "no key" }],
    })
    expect(queueError).toBe("queue out of order: Too Many Requests")
    expect(await countOf(conversation)).toBe(1)
    expect(await deadLetters(answer.transaction_id)).toEqual([
      { index: 1, reason: "no key", record: '{"refused":"no key"}', truncated: false },
    ])
  })

  it("counts the signals that were stored before as duplicates, when it is stored at once", async () => {
    const conversation = freshConversation()
    const signal = { context_window_id: conversation, dedupe_key: conversation }
    const context = testContext({ queue: undefined })
    const first = await acceptDelivery(context, received([{ signal }]))
    expect(first.answer).toMatchObject({ state: "stored", accepted_count: 1, duplicate_count: 0 })
    const second = await acceptDelivery(
      context,
      received([{ signal }, { signal: { context_window_id: conversation } }]),
    )
    expect(second.answer).toMatchObject({ state: "stored", accepted_count: 2, duplicate_count: 1 })
  })

  it("waits in the bucket when it is too large for a message, or is stored at once without one", async () => {
    const conversation = freshConversation()
    const large = [{ signal: { context_window_id: conversation, raw_content: "x".repeat(130_000) } }]
    const queue = testQueue()
    const parked = await acceptDelivery(testContext({ queue }), received(large))
    expect(parked.answer.state).toBe("queued")
    expect(queue.sent[0]?.length).toBeLessThan(1000)
    const stored = await acceptDelivery(testContext({ queue, bucket: undefined }), received(large))
    expect(stored.answer.state).toBe("stored")
    expect(await countOf(conversation)).toBe(1)
  })

  it("keeps nothing of a delivery whose records are all skipped", async () => {
    const queue = testQueue()
    const { answer } = await acceptDelivery(testContext({ queue }), received([{ skipped: "tombstone" }]))
    expect(answer).toEqual({
      state: "skipped",
      total_count: 0,
      accepted_count: 0,
      failed_count: 0,
      failures: [],
      skipped: { tombstone: 1 },
    })
    expect(queue.sent).toEqual([])
  })

  it.each([
    ["lines", "x\n".repeat(1024 * 1024)],
    ["control characters", "\u0001".repeat(1024 * 1024 - 100)],
    ["backslashes", "\\".repeat(600_000)],
    ["texts in an object", { a: ["y".repeat(MAX_RECORD_BYTES)] }],
  ])("keeps the beginning of a record that is too large, and says how long it was: %s", async (_, value) => {
    const delivery = {
      ...received([{ refused: "no key" }, { refused: "no key" }]),
      records: [{ value }, { value: "small" }],
    }
    const { answer } = await acceptDelivery(
      testContext({ queue: testQueue({ failure: new Error("away") }) }),
      delivery,
    )
    const [large, small] = (await deadLetters(answer.transaction_id)) as {
      reason: string
      record: string
      truncated: boolean
    }[]
    expect(large?.reason).toMatch(/^no key \(of \d{7} characters, the first 131072 are kept\)$/)
    expect(large?.record.length).toBeLessThanOrEqual(MAX_RECORD_BYTES)
    expect(mapKafkaRecord(JSON.parse(large?.record ?? ""), FieldMapping.parse({}))).toEqual({
      refused: expect.stringMatching(
        /^The record is too large: of \d{7} characters, the first 131072 are kept\.$/,
      ),
    })
    expect(large?.truncated).toBe(true)
    expect(small).toMatchObject({ truncated: false, reason: "no key", record: '{"value":"small"}' })
  })

  it("keeps records that fit completely, and the beginning of the others", () => {
    const kept = keepValues(
      Array.from({ length: 10 }, () => ({
        reason: "no key",
        record: { value: "\\".repeat(1024 * 512 - 20) },
      })),
    )
    expect(kept.map(({ truncated }) => truncated)).toEqual([false, false, ...Array(8).fill(true)])
    const characters = kept.map(({ record }) => JSON.stringify(JSON.stringify(record)).length)
    expect(characters.reduce((sum, one) => sum + one)).toBeLessThan(MAX_STATEMENT_CHARACTERS * 1.001)
  })
})
