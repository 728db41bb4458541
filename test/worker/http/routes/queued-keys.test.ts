import { describe, expect, it } from "vitest"
import type { Bindings } from "../../../../src/bindings.ts"
import { consume } from "../../consumer/messages.ts"
import { bindings, countOf, freshConversation, query } from "../../service.ts"
import { ASYNC, postTo, recordOf } from "./queued.ts"

const keyed = () => ({ "Idempotency-Key": crypto.randomUUID() })
const bodyFor = (conversation: string, text = "A") => ({
  signals: [{ context_window_id: conversation, raw_content: text }],
})

/** What a sender waits for: no batch that it was told of is failed, and the signals are there once. */
async function expectStoredOnce(conversation: string, transactionIds: string[]) {
  for (const id of transactionIds)
    expect(await recordOf(id)).toMatchObject({ state: "stored", successful_count: 1, failed_count: 0 })
  expect(await countOf(conversation)).toBe(1)
}

describe("one Idempotency-Key for synchronous and asynchronous requests", () => {
  it("refuses an asynchronous batch under the key of another one that is stored", async () => {
    const conversation = freshConversation()
    const key = keyed()
    expect((await postTo(bodyFor(conversation), key)).response.status).toBe(200)
    const second = await postTo(bodyFor(conversation, "B"), { ...key, ...ASYNC })
    expect([second.response.status, second.sent]).toEqual([422, []])
    expect(await countOf(conversation)).toBe(1)
  })

  it("refuses a synchronous batch under the key of another one that is queued, and stores the queued one", async () => {
    const conversation = freshConversation()
    const key = keyed()
    const first = await postTo(bodyFor(conversation), { ...key, ...ASYNC })
    expect((await postTo(bodyFor(conversation, "B"), key)).response.status).toBe(422)
    await consume(first.sent)
    await expectStoredOnce(conversation, [first.answer.transaction_id])
  })

  it("answers an asynchronous retry of a stored batch with the stored answer", async () => {
    const conversation = freshConversation()
    const key = keyed()
    const first = await postTo(bodyFor(conversation), key)
    const second = await postTo(bodyFor(conversation), { ...key, ...ASYNC })
    expect([second.response.status, second.sent]).toEqual([200, []])
    expect(second.response.headers.get("Idempotency-Replayed")).toBe("true")
    expect(second.answer.transaction_id).toBe(first.answer.transaction_id)
    await expectStoredOnce(conversation, [first.answer.transaction_id])
  })

  it("stores one batch when the bucket fails during the first of two asynchronous requests", async () => {
    const conversation = freshConversation()
    const key = keyed()
    const away = () => Promise.reject(new Error("R2 is away"))
    const broken = { get: away, put: away, head: away } as unknown as R2Bucket
    const first = await postTo(bodyFor(conversation), { ...key, ...ASYNC }, { BUCKET: broken })
    const second = await postTo(bodyFor(conversation), { ...key, ...ASYNC })
    expect([first.response.status, second.response.status]).toEqual([200, 200])
    await consume([...first.sent, ...second.sent])
    await expectStoredOnce(conversation, [first.answer.transaction_id, second.answer.transaction_id])
  })

  it("stores a queued batch at once on a synchronous retry, under the transaction id of the first answer", async () => {
    const conversation = freshConversation()
    const key = keyed()
    const first = await postTo(bodyFor(conversation), { ...key, ...ASYNC })
    const second = await postTo(bodyFor(conversation), key)
    expect(second.response.status).toBe(200)
    expect(second.response.headers.get("Idempotency-Replayed")).toBe("true")
    expect(second.answer.transaction_id).toBe(first.answer.transaction_id)
    await consume(first.sent)
    await expectStoredOnce(conversation, [first.answer.transaction_id])
  })

  it("records a queued batch as stored when the same request was stored meanwhile, and names that batch", async () => {
    const conversation = freshConversation()
    const key = keyed()
    const first = await postTo(bodyFor(conversation), { ...key, ...ASYNC })
    // A deployment without a queue looks for the key in the ledger alone.
    const second = await postTo(bodyFor(conversation), key, { QUEUE: undefined as unknown as Queue })
    expect(second.answer.transaction_id).not.toBe(first.answer.transaction_id)
    await consume([...first.sent, ...first.sent])
    await expectStoredOnce(conversation, [first.answer.transaction_id, second.answer.transaction_id])
    expect((await recordOf(first.answer.transaction_id)).reason).toContain(second.answer.transaction_id)
  })

  it("stores a synchronous retry of a queued batch that failed under a transaction id of its own", async () => {
    const conversation = freshConversation()
    const key = keyed()
    const first = await postTo(bodyFor(conversation), { ...key, ...ASYNC })
    await query(
      `insert into batches (transaction_id, caller, state, total_count, failed_count, failures, reason)
       values ($1::uuid, $2, 'failed', 1, 1, '[]', 'refused')`,
      [first.answer.transaction_id, first.answer.caller],
    )
    const second = await postTo(bodyFor(conversation), key)
    expect([second.response.status, second.response.headers.get("Idempotency-Replayed")]).toEqual([200, null])
    expect(second.answer.transaction_id).not.toBe(first.answer.transaction_id)
    await consume(first.sent)
    expect(await recordOf(first.answer.transaction_id)).toMatchObject({ state: "failed" })
    await expectStoredOnce(conversation, [second.answer.transaction_id])
  })

  it("queues a batch while the database does not answer for its key", async () => {
    const conversation = freshConversation()
    const key = keyed()
    const away = {
      DATABASE_HTTP_ENDPOINT: "http://127.0.0.1:9/sql",
      DATABASE_DEADLINE_MS: "200",
    } satisfies Partial<Bindings>
    const first = await postTo(bodyFor(conversation), { ...key, ...ASYNC }, away)
    expect(first.response.status).toBe(202)
    const answered = await postTo(bodyFor(conversation), { ...key, ...ASYNC }, away)
    expect([answered.response.status, answered.answer.transaction_id]).toEqual([
      202,
      first.answer.transaction_id,
    ])
    await consume(first.sent, {
      bindings: { DATABASE_HTTP_ENDPOINT: bindings.DATABASE_HTTP_ENDPOINT } as Partial<Bindings>,
    })
    await expectStoredOnce(conversation, [first.answer.transaction_id])
  })
})
