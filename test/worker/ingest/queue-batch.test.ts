import { describe, expect, it } from "vitest"
import { storeClaimCheck } from "../../../src/consumer/tasks.ts"
import { findBatch, queueBatch } from "../../../src/ingest/queue-batch.ts"
import { newBatch, storeBatch } from "../../../src/ingest/store-batch.ts"
import { batchObject, putClaimCheck } from "../../../src/queue/claim-checks.ts"
import { BatchInDoubt } from "../../../src/store/batches/batch.ts"
import type { Database } from "../../../src/store/database/connection.ts"
import { DatabaseError, IdempotencyKeyReused } from "../../../src/store/database/errors.ts"
import { bindings, countOf, freshConversation } from "../service.ts"
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
    expect(await queueBatch(testContext({ queue: undefined }), batch())).toEqual({
      queueError: undefined,
      mayBeQueued: false,
    })
    expect(await queueBatch(testContext({ bucket: undefined }), batch())).toEqual({
      queueError: undefined,
      mayBeQueued: false,
    })
    const failing = testContext({ queue: testQueue({ failure: new Error("Storage Limit Exceeded") }) })
    expect(await queueBatch(failing, batch())).toEqual({
      queueError: "queue out of order: Storage Limit Exceeded",
      mayBeQueued: true,
    })
  })
})

describe("a batch that the queue may have after an error", () => {
  const failing = () => testContext({ queue: testQueue({ failure: new Error("the queue fails") }) })
  const NOTHING_COUNTED = { count: () => {} }

  it("is in doubt when the database cannot take it, since the bucket keeps it", async () => {
    const batch = newBatch(requestOf([{ context_window_id: freshConversation() }]))
    expect(await queueBatch(failing(), batch)).toMatchObject({ mayBeQueued: true })
    for (const kind of ["overloaded", "broken", "transient"] as const) {
      const db: Database = {
        ...testContext().db,
        deadlineAt: Date.now() + 50,
        query: () => Promise.reject(new DatabaseError(kind, "nothing was sent", false)),
      }
      const stored = storeBatch(testContext({ db }), batch, { mayBeQueued: true })
      await expect(stored, kind).rejects.toMatchObject({ transactionId: batch.transactionId })
      await expect(stored, kind).rejects.toBeInstanceOf(BatchInDoubt)
    }
  })

  it.each(["the database refuses it", "its key was used for another request"])(
    "is never stored after the answer that %s",
    async (why) => {
      const conversation = freshConversation()
      const key = crypto.randomUUID()
      if (why !== "the database refuses it")
        await storeBatch(
          testContext({ bucket: undefined }),
          newBatch(requestOf([{ context_window_id: "c" }], { key, hash: "other" })),
        )
      const batch = newBatch(requestOf([{ context_window_id: conversation }], { key, allOrNothing: true }))
      const row = batch.plan.rows[0]
      if (row && why === "the database refuses it") row.signalScore = 7
      await putClaimCheck(bindings.BUCKET as R2Bucket, {
        kind: "batch",
        record: {} as never,
        batch,
      })
      await expect(
        storeBatch(testContext({ bucket: undefined }), batch, { mayBeQueued: true }),
      ).rejects.toThrow()
      if (row) row.signalScore = 0.5
      await storeClaimCheck({ ...testContext(), ...NOTHING_COUNTED }, batchObject(batch.transactionId))
      expect(await countOf(conversation)).toBe(0)
    },
  )
})
