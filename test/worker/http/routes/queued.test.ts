import { createExecutionContext } from "cloudflare:test"
import { describe, expect, it } from "vitest"
import { app } from "../../../../src/app.ts"
import type { Bindings } from "../../../../src/bindings.ts"
import { batchObject } from "../../../../src/queue/claim-checks.ts"
import { messageText } from "../../../../src/queue/messages.ts"
import type { BatchRecord } from "../../../../src/signals/responses.ts"
import { consume } from "../../consumer/messages.ts"
import {
  bindings,
  countOf,
  freshConversation,
  postBatch,
  query,
  TOO_LONG_FOR_POSTGRES,
} from "../../service.ts"
import { ASYNC, postTo, recordOf } from "./queued.ts"

const postQueued = (body: unknown, headers = {}, changed: Partial<Bindings> = {}) =>
  postTo(body, { ...ASYNC, ...headers }, changed)

describe("a batch with Prefer: respond-async", () => {
  it("is answered 202, and is in the ledger when the consumer has stored it", async () => {
    const conversation = freshConversation()
    const signals = [
      { context_window_id: conversation },
      { context_window_id: conversation, signal_score: 2 },
    ]
    const response = await postBatch({ signals }, ASYNC)
    expect(response.status).toBe(202)
    expect(response.headers.get("Preference-Applied")).toBe("respond-async")
    const { transaction_id, state, failed_count } = (await response.json()) as BatchRecord
    expect({ state, failed_count }).toEqual({ state: "queued", failed_count: 1 })
    expect(response.headers.get("Location")).toBe(`/api/batches/${transaction_id}`)
    await expect
      .poll(() => recordOf(transaction_id))
      .toMatchObject({
        state: "stored",
        total_count: 2,
        successful_count: 1,
        failures: [{ index: 1, error: "signal_score must be between 0 and 1" }],
      })
    expect(await countOf(conversation)).toBe(1)
  })

  it("has the state queued until it is stored", async () => {
    const conversation = freshConversation()
    const { answer, sent } = await postQueued({ signals: [{ context_window_id: conversation }] })
    expect(await recordOf(answer.transaction_id)).toMatchObject({
      state: "queued",
      total_count: 1,
      successful_count: 0,
    })
    expect(await countOf(conversation)).toBe(0)
    await consume(sent)
    await consume(sent)
    expect(await recordOf(answer.transaction_id)).toMatchObject({ state: "stored", successful_count: 1 })
    expect(await countOf(conversation)).toBe(1)
  })

  it("has the state queued while the database cannot be reached", async () => {
    const { answer } = await postQueued({ signals: [{ context_window_id: freshConversation() }] })
    const away = {
      ...bindings,
      DATABASE_HTTP_ENDPOINT: "http://127.0.0.1:9/sql",
      DATABASE_DEADLINE_MS: "200",
    }
    const ask = (transactionId: string) =>
      app.request(`/api/batches/${transactionId}`, {}, away, createExecutionContext())
    expect(await (await ask(answer.transaction_id)).json()).toMatchObject({ state: "queued", total_count: 1 })
    expect((await ask(crypto.randomUUID())).status).toBe(503)
  })

  it("is one batch in the ledger even when it is far larger than a message", async () => {
    const conversation = freshConversation()
    const signals = Array.from({ length: 1000 }, () => ({
      context_window_id: conversation,
      raw_content: "x".repeat(400),
    }))
    const { answer, sent } = await postQueued({ signals })
    expect(sent).toHaveLength(1)
    await consume(sent)
    expect(await recordOf(answer.transaction_id)).toMatchObject({
      state: "stored",
      total_count: 1000,
      successful_count: 1000,
    })
    expect(await countOf(conversation)).toBe(1000)
  })

  it("is refused at once when it is all or nothing and a signal breaks a rule", async () => {
    const { response, sent } = await postQueued({
      signals: [{ context_window_id: " " }],
      fail_on_error: true,
    })
    expect(response.status).toBe(400)
    expect(sent).toEqual([])
  })

  it("has the state failed, with the reason, when only the database refuses a signal of all or nothing", async () => {
    const conversation = freshConversation()
    const text = `{"fail_on_error": true, "signals": [{"context_window_id": "${conversation}"}, {"context_window_id": "${conversation}", "payload": {"n": ${TOO_LONG_FOR_POSTGRES}}}]}`
    const response = await postBatch(text, ASYNC)
    const { transaction_id } = (await response.json()) as BatchRecord
    await expect
      .poll(() => recordOf(transaction_id))
      .toMatchObject({
        state: "failed",
        successful_count: 0,
        failed_count: 2,
        failures: [{ index: 1 }],
        reason: "The database refused signals of an all-or-nothing batch.",
      })
    expect(await countOf(conversation)).toBe(0)
  })

  it("is stored at once without a queue or a bucket, and when the queue fails", async () => {
    const refusing = { send: () => Promise.reject(new Error("Storage Limit Exceeded")) } as unknown as Queue
    for (const changed of [{ QUEUE: undefined }, { BUCKET: undefined }, { QUEUE: refusing }]) {
      const conversation = freshConversation()
      const { response, answer } = await postQueued(
        { signals: [{ context_window_id: conversation }] },
        {},
        changed as Partial<Bindings>,
      )
      expect(response.status).toBe(200)
      expect(response.headers.get("Preference-Applied")).toBeNull()
      expect(answer.successful_count).toBe(1)
      expect(await countOf(conversation)).toBe(1)
    }
  })

  it("is stored once when the queue accepted it and reported an error", async () => {
    const conversation = freshConversation()
    const sent: string[] = []
    const send = async (text: string) => {
      sent.push(text)
      throw new Error("timeout")
    }
    const lying = { send } as unknown as Queue
    const { response } = await postQueued(
      { signals: [{ context_window_id: conversation }] },
      {},
      { QUEUE: lying },
    )
    expect(response.status).toBe(200)
    await consume(sent)
    expect(await countOf(conversation)).toBe(1)
  })

  it("under an Idempotency-Key gets the first answer again, before and after it is stored", async () => {
    const conversation = freshConversation()
    const body = { signals: [{ context_window_id: conversation }] }
    const key = { "Idempotency-Key": crypto.randomUUID() }
    const first = await postQueued(body, key)
    const second = await postQueued(body, key)
    expect(second.answer.transaction_id).toBe(first.answer.transaction_id)
    expect(second.response.headers.get("Idempotency-Replayed")).toBe("true")
    // The first message may never have left: it is sent again.
    await consume(second.sent)
    await consume(first.sent)
    const third = await postQueued(body, key)
    expect(third.answer.transaction_id).toBe(first.answer.transaction_id)
    expect(third.sent).toEqual([])
    expect(await countOf(conversation)).toBe(1)
  })

  it("is stored once by 20 at the same time under one key", async () => {
    const conversation = freshConversation()
    const key = { "Idempotency-Key": crypto.randomUUID() }
    const all = await Promise.all(
      Array.from({ length: 20 }, () => postQueued({ signals: [{ context_window_id: conversation }] }, key)),
    )
    expect(new Set(all.map(({ answer }) => answer.transaction_id)).size).toBe(1)
    await consume(all.flatMap(({ sent }) => sent))
    expect(await countOf(conversation)).toBe(1)
  })

  it("is refused under a key that was used for another batch", async () => {
    const key = { "Idempotency-Key": crypto.randomUUID() }
    await postQueued({ signals: [{ context_window_id: freshConversation() }] }, key)
    const { response } = await postQueued({ signals: [{ context_window_id: freshConversation() }] }, key)
    expect(response.status).toBe(422)
  })

  it("has the state failed when another batch was stored at once under its key meanwhile", async () => {
    const conversation = freshConversation()
    const key = { "Idempotency-Key": crypto.randomUUID() }
    const { answer, sent } = await postQueued({ signals: [{ context_window_id: conversation }] }, key)
    // A deployment without a queue looks for the key in the ledger alone.
    const another = { signals: [{ context_window_id: conversation, raw_content: "another" }] }
    await postTo(another, key, { QUEUE: undefined as unknown as Queue })
    await consume(sent)
    expect(await recordOf(answer.transaction_id)).toMatchObject({
      state: "failed",
      reason: "This Idempotency-Key had been used before with another request.",
    })
    expect(await countOf(conversation)).toBe(1)
  })

  it("leaves nothing in the bucket when it is stored", async () => {
    const { answer, sent } = await postQueued({ signals: [{ context_window_id: freshConversation() }] })
    await consume(sent)
    expect(await bindings.BUCKET?.head(batchObject(answer.transaction_id))).toBeNull()
    const rows = await query("select state from batches where transaction_id = $1", [answer.transaction_id])
    expect(rows).toEqual([{ state: "stored" }])
    await consume([
      messageText({ version: 1, kind: "claim_check", object: batchObject(answer.transaction_id) }),
    ])
    expect(await recordOf(answer.transaction_id)).toMatchObject({ state: "stored" })
  })
})
