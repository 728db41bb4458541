import { describe, expect, it } from "vitest"
import type { BatchAnswer } from "../../../src/signals/responses.ts"
import { countOf, freshConversation, postBatch, postJson, TOO_LONG_FOR_POSTGRES } from "../service.ts"

const UNSTORABLE = `{"number":${TOO_LONG_FOR_POSTGRES}}`
const SENTENCE = "refused by the database: value overflows numeric format (22003)"

const batchText = (conversation: string, rest = "") => {
  const signal = (payload: string) => `{"context_window_id":"${conversation}","payload":${payload}}`
  return `{"signals":[${signal("{}")},${signal(UNSTORABLE)},${signal('{"a":1}')},{"context_window_id":""}]${rest}}`
}

describe("a signal that only the database refuses", () => {
  it("fails by itself in a best-effort batch: the others are stored", async () => {
    const conversation = freshConversation()
    const answer = (await (await postBatch(batchText(conversation))).json()) as BatchAnswer
    expect(answer).toMatchObject({
      successful_count: 2,
      failed_count: 2,
      results: [
        { success: true, signal_id: expect.any(Number) },
        { success: false, signal_id: null, error: SENTENCE, code: "refused_by_database", retryable: false },
        { success: true, signal_id: expect.any(Number) },
        { success: false, error: "context_window_id must be 1 to 255 characters long" },
      ],
    })
    expect(await countOf(conversation)).toBe(2)
  })

  it("gets the same answer when the batch is replayed", async () => {
    const headers = { "Idempotency-Key": crypto.randomUUID() }
    const text = batchText(freshConversation())
    const first = await (await postBatch(text, headers)).json()
    const again = await postBatch(text, headers)
    expect(again.headers.get("Idempotency-Replayed")).toBe("true")
    expect(await again.json()).toEqual(first)
  })

  it("fails an all-or-nothing batch, of which nothing is stored", async () => {
    const conversation = freshConversation()
    const signals = ["{}", UNSTORABLE].map(
      (payload) => `{"context_window_id":"${conversation}","payload":${payload}}`,
    )
    const response = await postBatch(`{"signals":[${signals}],"fail_on_error":true}`)
    expect(response.status).toBe(400)
    expect(await response.json()).toEqual({
      detail: `Batch failed at index 1: ${SENTENCE}. No signals were created.`,
      code: "batch_rejected",
      errors: [{ index: 1, error: SENTENCE, code: "refused_by_database", retryable: false }],
    })
    expect(await countOf(conversation)).toBe(0)
  })

  it("is 422 when it was sent alone", async () => {
    const response = await postJson(
      "/api/signals",
      `{"context_window_id":"${freshConversation()}","payload":${UNSTORABLE}}`,
    )
    expect(response.status).toBe(422)
    expect(await response.json()).toEqual({
      detail: [{ type: "value_error", loc: ["body"], msg: SENTENCE }],
      code: "invalid_request",
    })
  })
})
