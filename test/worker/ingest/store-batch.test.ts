import { describe, expect, it } from "vitest"
import { NOTHING_ADDED } from "../../../src/ingest/context.ts"
import { newBatch, storeAcceptedBatch, storeBatch } from "../../../src/ingest/store-batch.ts"
import { BatchRefused } from "../../../src/store/batches/batch.ts"
import { IdempotencyKeyReused } from "../../../src/store/database/errors.ts"
import { countOf, freshConversation, query, TOO_LONG_FOR_POSTGRES } from "../service.ts"
import { requestOf, testContext } from "./context.ts"

/** Postgres' numeric does not hold it, which no rule knows. */
const TOO_LARGE = { n: JSON.rawJSON(TOO_LONG_FOR_POSTGRES) }

describe("a batch that is stored at once", () => {
  it("returns the id of each signal, in batch order", async () => {
    const conversation = freshConversation()
    const batch = newBatch(
      requestOf([{ context_window_id: conversation }, { context_window_id: conversation }]),
    )
    const { stored, replayed, transactionId } = await storeBatch(testContext(), batch)
    expect({ indexes: stored.map(({ index }) => index), replayed }).toEqual({
      indexes: [0, 1],
      replayed: false,
    })
    expect(transactionId).toBe(batch.transactionId)
    expect(await countOf(conversation)).toBe(2)
  })

  it("returns the first answer for a key that was used for the same request, and throws for another", async () => {
    const conversation = freshConversation()
    const key = crypto.randomUUID()
    const signals = [{ context_window_id: conversation }]
    const first = await storeBatch(testContext(), newBatch(requestOf(signals, { key })))
    const second = await storeBatch(testContext(), newBatch(requestOf(signals, { key })))
    expect(second).toEqual({ ...first, replayed: true, isNew: false })
    const another = newBatch(requestOf(signals, { key, hash: "another" }))
    await expect(storeBatch(testContext(), another)).rejects.toThrow(IdempotencyKeyReused)
    expect(await countOf(conversation)).toBe(1)
  })

  it("throws, with nothing stored, when the database refuses a signal of all or nothing", async () => {
    const conversation = freshConversation()
    const signals = [
      { context_window_id: conversation },
      { context_window_id: conversation, payload: TOO_LARGE },
    ]
    const batch = newBatch(requestOf(signals, { allOrNothing: true }))
    await expect(storeBatch(testContext(), batch)).rejects.toThrow(BatchRefused)
    expect(await countOf(conversation)).toBe(0)
  })
})

describe("a batch whose caller already has the answer", () => {
  it("counts the added signals, and none when it is stored again", async () => {
    const conversation = freshConversation()
    const signals = [
      { context_window_id: conversation },
      { context_window_id: conversation, payload: TOO_LARGE },
    ]
    const batch = newBatch(requestOf([...signals, { context_window_id: conversation, signal_score: 2 }]))
    expect(await storeAcceptedBatch(testContext(), batch)).toMatchObject({
      stored: 1,
      duplicates: 0,
      failed: 1,
      codes: new Map([["refused_by_database", 1]]),
    })
    expect(await storeAcceptedBatch(testContext(), batch)).toEqual(NOTHING_ADDED)
    expect(await countOf(conversation)).toBe(1)
  })

  it("is recorded in the ledger as failed, with the reason", async () => {
    const conversation = freshConversation()
    const batch = newBatch(
      requestOf([{ context_window_id: conversation, payload: TOO_LARGE }], { allOrNothing: true }),
    )
    expect(await storeAcceptedBatch(testContext(), batch)).toMatchObject({
      stored: 0,
      duplicates: 0,
      failed: 1,
      codes: new Map([["refused_by_database", 1]]),
    })
    const rows = await query("select state, reason from batches where transaction_id = $1", [
      batch.transactionId,
    ])
    expect(rows).toEqual([
      { state: "failed", reason: "The database refused signals of an all-or-nothing batch." },
    ])
  })
})
