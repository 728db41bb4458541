import { describe, expect, it } from "vitest"
import { storeClaimCheck } from "../../../src/consumer/tasks.ts"
import { findBatch, queueBatch } from "../../../src/ingest/queue-batch.ts"
import { newBatch } from "../../../src/ingest/store-batch.ts"
import { batchObject } from "../../../src/queue/claim-checks.ts"
import { DatabaseError, IdempotencyKeyReused } from "../../../src/store/database/errors.ts"
import { freshConversation } from "../service.ts"
import { requestOf, testContext, testQueue, unreachable } from "./context.ts"

describe("a batch that is queued", () => {
  it("waits in the bucket, and one message names it", async () => {
    const queue = testQueue()
    const context = testContext({ queue })
    const batch = newBatch(
      requestOf([{ context_window_id: freshConversation() }, { context_window_id: " " }]),
    )
    expect(await queueBatch(context, batch)).toMatchObject({
      record: {
        transaction_id: batch.transactionId,
        state: "queued",
        created_at: "2026-01-02T03:04:05.000000Z",
        failed_count: 1,
      },
      replayed: false,
    })
    expect(queue.sent.map((text) => JSON.parse(text).object)).toEqual([batchObject(batch.transactionId)])
  })

  it("is found by its transaction id, even while the database cannot be reached", async () => {
    const batch = newBatch(requestOf([{ context_window_id: freshConversation() }]))
    await queueBatch(testContext(), batch)
    for (const context of [testContext(), testContext({ db: unreachable() })])
      expect(await findBatch(context, batch.transactionId)).toMatchObject({ state: "queued" })
    await expect(findBatch(testContext({ db: unreachable() }), crypto.randomUUID())).rejects.toThrow(
      DatabaseError,
    )
    expect(await findBatch(testContext(), crypto.randomUUID())).toBeUndefined()
  })

  it("is found when the consumer stores it between the reads of the ledger and the bucket", async () => {
    const batch = newBatch(requestOf([{ context_window_id: freshConversation() }]))
    await queueBatch(testContext(), batch)
    const { db, bucket } = testContext()
    const looks: string[] = []
    const racing = {
      async get(object: string, options: R2GetOptions) {
        looks.push(object)
        if (looks.length === 1)
          await storeClaimCheck({ db, bucket, count: () => {} }, batchObject(batch.transactionId))
        return bucket?.get(object, options)
      },
    } as unknown as R2Bucket
    expect(await findBatch({ db, bucket: racing }, batch.transactionId)).toMatchObject({
      transaction_id: batch.transactionId,
      state: "stored",
    })
    expect(looks[0]).toBe(batchObject(batch.transactionId))
  })

  it.each([
    ["the first 64 KiB, whatever the size of the batch", 10, [64 * 1024]],
    ["the whole object where its record is longer", 2000, [64 * 1024, undefined]],
  ])("is described by %s", async (_, failures, expected) => {
    const good = Array.from({ length: 200 }, () => ({
      context_window_id: freshConversation(),
      raw_content: "x".repeat(1000),
    }))
    const refused = Array.from({ length: failures }, () => ({ context_window_id: " " }))
    const context = testContext({ db: unreachable() })
    const batch = newBatch(requestOf([...good, ...refused]))
    await queueBatch(context, batch)
    const lengths: unknown[] = []
    const watched = {
      get(object: string, options: { range?: { length: number } }) {
        lengths.push(options.range?.length)
        return context.bucket?.get(object, options)
      },
    } as unknown as R2Bucket
    const record = await findBatch({ db: context.db, bucket: watched }, batch.transactionId)
    expect(record).toMatchObject({ state: "queued", failed_count: failures })
    expect(record?.failures).toHaveLength(failures)
    expect(lengths).toEqual(expected)
  })

  it("returns the first record for a key that was used for the same request, and throws for another", async () => {
    const key = crypto.randomUUID()
    const signals = [{ context_window_id: freshConversation() }]
    const first = newBatch(requestOf(signals, { key }))
    await queueBatch(testContext(), first)
    const again = await queueBatch(testContext(), newBatch(requestOf(signals, { key })))
    expect(again).toMatchObject({ record: { transaction_id: first.transactionId }, replayed: true })
    const another = newBatch(requestOf(signals, { key, hash: "another" }))
    await expect(queueBatch(testContext(), another)).rejects.toThrow(IdempotencyKeyReused)
  })

  it("is not queued without a queue or a bucket, or when the queue fails, which is returned for the log", async () => {
    const batch = () => newBatch(requestOf([{ context_window_id: freshConversation() }]))
    expect(await queueBatch(testContext({ queue: undefined }), batch())).toEqual({ queueError: undefined })
    expect(await queueBatch(testContext({ bucket: undefined }), batch())).toEqual({ queueError: undefined })
    const failing = testContext({ queue: testQueue({ failure: new Error("Storage Limit Exceeded") }) })
    expect(await queueBatch(failing, batch())).toEqual({
      queueError: "queue out of order: Storage Limit Exceeded",
    })
  })
})
