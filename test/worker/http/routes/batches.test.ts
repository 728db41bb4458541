import { describe, expect, it } from "vitest"
import type { BatchAnswer } from "../../../../src/signals/responses.ts"
import { countOf, freshConversation, postBatch, query, send } from "../../service.ts"

const batchOf = (conversation: string, count: number, fields: (index: number) => object = () => ({})) => ({
  signals: Array.from({ length: count }, (_, index) => ({
    context_window_id: conversation,
    raw_content: `signal ${index}`,
    ...fields(index),
  })),
})

const answerOf = async (response: Response) => {
  expect(response.status, await response.clone().text()).toBe(200)
  return (await response.json()) as BatchAnswer
}

/** The guide's own three test cases, under their names. */
describe("the guide's test suite", () => {
  it("test_batch_success_count", async () => {
    const conversation = freshConversation()
    const answer = await answerOf(await postBatch({ ...batchOf(conversation, 10), fail_on_error: false }))
    expect(answer).toMatchObject({ total_count: 10, successful_count: 10, failed_count: 0 })
    expect(await countOf(conversation)).toBe(10)
  })

  it("test_batch_large_batch", async () => {
    const conversation = freshConversation()
    const answer = await answerOf(await postBatch(batchOf(conversation, 100)))
    expect(answer).toMatchObject({ total_count: 100, successful_count: 100, failed_count: 0 })
    expect(await countOf(conversation)).toBe(100)
  })

  it("test_batch_fail_on_error_true", async () => {
    const conversation = freshConversation()
    const signals = batchOf(conversation, 5, (index) => ({ signal_score: index === 3 ? 1.5 : 0.5 })).signals
    const response = await postBatch({ signals, fail_on_error: true })
    expect(response.status).toBe(400)
    expect(await response.json()).toEqual({
      detail: "Batch failed at index 3: signal_score must be between 0 and 1. No signals were created.",
      code: "batch_rejected",
      errors: [
        {
          index: 3,
          error: "signal_score must be between 0 and 1",
          code: "out_of_range",
          field: "signal_score",
          retryable: false,
        },
      ],
    })
    expect(await countOf(conversation)).toBe(0)
  })
})

describe("the answer to a batch", () => {
  it("has one result for each signal, in order, with the reason of a failure", async () => {
    const answer = await answerOf(
      await postBatch(batchOf(freshConversation(), 3, (index) => ({ signal_score: index === 1 ? 2 : 1 }))),
    )
    const [first, , third] = answer.results
    expect(answer.results).toEqual([
      { index: 0, success: true, signal_id: expect.any(Number), error: null },
      {
        index: 1,
        success: false,
        signal_id: null,
        error: "signal_score must be between 0 and 1",
        code: "out_of_range",
        field: "signal_score",
        retryable: false,
      },
      { index: 2, success: true, signal_id: expect.any(Number), error: null },
    ])
    expect(third?.signal_id).toBeGreaterThan(first?.signal_id ?? Number.NaN)
  })

  it("has the id of each signal at its index", async () => {
    const conversation = freshConversation()
    const answer = await answerOf(await postBatch(batchOf(conversation, 200)))
    const rows = await query<{ id: string; raw_content: string }>(
      "select id, raw_content from signals where context_window_id = $1",
      [conversation],
    )
    const contentOf = new Map(rows.map(({ id, raw_content }) => [Number(id), raw_content]))
    expect(answer.results.map(({ signal_id }) => contentOf.get(signal_id ?? 0))).toEqual(
      Array.from({ length: 200 }, (_, index) => `signal ${index}`),
    )
  })

  it("omits successful results when the sender prefers a minimal return", async () => {
    const batch = batchOf(freshConversation(), 3, (index) => ({ emotional_tone: index === 2 ? -1 : 0 }))
    const response = await postBatch(batch, { Prefer: "return=minimal" })
    expect(response.headers.get("Preference-Applied")).toBe("return=minimal")
    expect(await answerOf(response)).toMatchObject({
      total_count: 3,
      successful_count: 2,
      results: [
        { index: 2, success: false, signal_id: null, error: "emotional_tone must be between 0 and 1" },
      ],
    })
  })

  it("names unknown fields", async () => {
    const signals = batchOf(freshConversation(), 2, (index) =>
      index === 1 ? { signalScore: 1, channel: "x" } : {},
    ).signals
    expect(await answerOf(await postBatch({ signals, failOnError: true }))).toMatchObject({
      ignored_fields: ["failOnError", "signalScore", "channel"],
    })
  })

  it("has no ignored_fields when every field is known", async () =>
    expect(await answerOf(await postBatch(batchOf(freshConversation(), 1)))).not.toHaveProperty(
      "ignored_fields",
    ))

  it("to an empty batch has zero counts, and nothing is written", async () => {
    expect(await answerOf(await postBatch({ signals: [] }))).toEqual({
      total_count: 0,
      successful_count: 0,
      failed_count: 0,
      results: [],
      transaction_id: null,
    })
  })

  it("names the ledger row even when no signal could be stored", async () => {
    const answer = await answerOf(
      await postBatch(batchOf(freshConversation(), 2, () => ({ signal_score: 9 }))),
    )
    expect(answer).toMatchObject({ total_count: 2, successful_count: 0, failed_count: 2 })
    const record = await (await send(`/api/batches/${answer.transaction_id}`)).json()
    expect(record).toMatchObject({
      total_count: 2,
      successful_count: 0,
      failed_count: 2,
      failures: answer.results.map(({ success: _, signal_id: __, ...failure }) => failure),
    })
  })
})

describe("a batch of the wrong shape", () => {
  it.each([false, true])(
    "is refused as a whole, with every error, with fail_on_error %s",
    async (fail_on_error) => {
      const conversation = freshConversation()
      const signals = [
        { raw_content: "no conversation" },
        { context_window_id: conversation },
        { context_window_id: conversation, payload: "text" },
      ]
      const response = await postBatch({ signals, fail_on_error })
      expect(response.status).toBe(422)
      expect(await response.json()).toEqual({
        detail: [
          { type: "missing", loc: ["body", "signals", 0, "context_window_id"], msg: "Field required" },
          {
            type: "dict_type",
            loc: ["body", "signals", 2, "payload"],
            msg: "Input should be a valid dictionary",
            input: "text",
          },
        ],
        code: "invalid_request",
      })
      expect(await countOf(conversation)).toBe(0)
    },
  )

  it.each([
    ["no body", "", "missing"],
    ["no JSON", "{signals:[]}", "json_invalid"],
    ["cut-off JSON", '{"signals":[', "json_invalid"],
  ])("with %s is refused", async (_, body, type) => {
    const response = await postBatch(body)
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ detail: [{ type, loc: ["body"] }] })
  })

  it("in bad UTF-8 is refused, not repaired", async () => {
    const body = new Uint8Array([
      ...new TextEncoder().encode('{"signals":[{"context_window_id":"'),
      0xff,
      ...new TextEncoder().encode('"}]}'),
    ])
    const response = await send("/api/signals/batch", {
      method: "POST",
      body,
      headers: { "Content-Type": "application/json" },
    })
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ detail: [{ type: "string_unicode", loc: ["body"] }] })
  })
})

describe("an all-or-nothing batch", () => {
  it("lists every failure, and quotes the first one", async () => {
    const signals = batchOf(freshConversation(), 4, (index) => ({ escalate_flag: index % 2 ? 7 : 0 })).signals
    const response = await postBatch({ signals, fail_on_error: true })
    const outOfRange = {
      error: "escalate_flag must be 0 or 1",
      code: "out_of_range",
      field: "escalate_flag",
      retryable: false,
    }
    expect(response.status).toBe(400)
    expect(await response.json()).toEqual({
      detail: "Batch failed at index 1: escalate_flag must be 0 or 1. No signals were created.",
      code: "batch_rejected",
      errors: [1, 3].map((index) => ({ index, ...outOfRange })),
    })
  })

  it("can be requested in the query too", async () => {
    const conversation = freshConversation()
    const response = await send("/api/signals/batch?fail_on_error=true", {
      method: "POST",
      headers: { "Content-Type": "application/x-ndjson" },
      body: `{"context_window_id":"${conversation}"}\n{"context_window_id":"${conversation}","signal_score":3}\n`,
    })
    expect(response.status).toBe(400)
    expect(await countOf(conversation)).toBe(0)
  })
})
