import { describe, expect, it } from "vitest"
import type { BatchAnswer } from "../../../src/signals/responses.ts"
import { countOf, freshConversation, postBatch, postJson, query } from "../service.ts"

const batchOf = (conversation: string, count = 3) => ({
  signals: Array.from({ length: count }, (_, index) => ({
    context_window_id: conversation,
    signal_score: index === 1 ? 5 : 0.5,
  })),
})
const freshKey = () => crypto.randomUUID()

describe("a batch sent again under its Idempotency-Key", () => {
  it("is stored once and gets the first answer again", async () => {
    const conversation = freshConversation()
    const headers = { "Idempotency-Key": freshKey() }
    const first = await postBatch(batchOf(conversation), headers)
    const again = await postBatch(batchOf(conversation), headers)
    expect(first.headers.has("Idempotency-Replayed")).toBe(false)
    expect(again.headers.get("Idempotency-Replayed")).toBe("true")
    expect(await again.json()).toEqual(await first.json())
    expect(await countOf(conversation)).toBe(2)
  })

  it("a key on another route or with another type is another request", async () => {
    const inner = { context_window_id: freshConversation() }
    const body = { ...inner, signals: [inner, inner], fail_on_error: true }
    const headers = { "Idempotency-Key": freshKey() }
    expect((await postJson("/api/signals", body, headers)).status).toBe(201)
    expect((await postBatch(body, headers)).status).toBe(422)
    expect((await postBatch(body, { ...headers, "Content-Type": "application/x-ndjson" })).status).toBe(422)
    expect(await countOf(inner.context_window_id)).toBe(1)
  })

  it("a key with another body or mode is refused", async () => {
    const headers = { "Idempotency-Key": freshKey() }
    const conversation = freshConversation()
    expect((await postBatch({ signals: [{ context_window_id: conversation }] }, headers)).status).toBe(200)
    for (const body of [
      { signals: [{ context_window_id: "other" }] },
      { signals: [{ context_window_id: conversation }], fail_on_error: true },
    ]) {
      const response = await postBatch(body, headers)
      expect(response.status).toBe(422)
      expect(await response.json()).toMatchObject({
        detail: [{ type: "idempotency_key_reused", loc: ["header", "Idempotency-Key"] }],
      })
    }
    expect(await countOf(conversation)).toBe(1)
  })

  it("can be corrected after a refusal, since nothing was stored under the key", async () => {
    const headers = { "Idempotency-Key": freshKey() }
    const conversation = freshConversation()
    expect((await postBatch({ ...batchOf(conversation), fail_on_error: true }, headers)).status).toBe(400)
    expect(
      (await postBatch({ signals: [{ context_window_id: conversation }], fail_on_error: true }, headers))
        .status,
    ).toBe(200)
  })

  it("a key that is seven days old can be used for a new batch", async () => {
    const headers = { "Idempotency-Key": freshKey() }
    const conversation = freshConversation()
    const first = (await (await postBatch(batchOf(conversation), headers)).json()) as BatchAnswer
    await query(
      "update batches set created_at = now() - interval '7 days 1 second' where transaction_id = $1",
      [first.transaction_id],
    )
    const later = await postBatch(batchOf(conversation), headers)
    expect(later.headers.has("Idempotency-Replayed")).toBe(false)
    expect(((await later.json()) as BatchAnswer).transaction_id).not.toBe(first.transaction_id)
    expect(await countOf(conversation)).toBe(4)
  })

  it.each(["", "x".repeat(256), "with space", "\u00fc"])(
    "needs a key of 1 to 255 visible ASCII characters, not %j",
    async (key) => {
      const response = await postBatch(batchOf(freshConversation()), { "Idempotency-Key": key })
      expect(response.status).toBe(422)
      expect(await response.json()).toMatchObject({
        detail: [{ type: "string_pattern_mismatch", loc: ["header", "Idempotency-Key"] }],
      })
    },
  )
})

describe("a signal sent again under its dedupe_key", () => {
  const keyed = (conversation: string, dedupe_key: string) => ({
    context_window_id: conversation,
    dedupe_key,
  })

  it("is stored once, and every later answer has the first one's id as a duplicate", async () => {
    const conversation = freshConversation()
    const key = freshKey()
    const first = (await (await postBatch({ signals: [keyed(conversation, key)] })).json()) as BatchAnswer
    const later = (await (
      await postBatch({
        signals: [{ context_window_id: conversation }, keyed(conversation, key), keyed(conversation, key)],
      })
    ).json()) as BatchAnswer
    expect(later).toMatchObject({ successful_count: 3, failed_count: 0 })
    const duplicate = { success: true, signal_id: first.results[0]?.signal_id, error: null, duplicate: true }
    expect(later.results.slice(1)).toEqual([1, 2].map((index) => ({ index, ...duplicate })))
    expect(await countOf(conversation)).toBe(2)
  })

  it("gets the same answer when the whole batch is replayed", async () => {
    const conversation = freshConversation()
    const [one, two] = [freshKey(), freshKey()]
    await postBatch({ signals: [keyed(conversation, one)] })
    const batch = {
      signals: [
        keyed(conversation, two),
        keyed(conversation, one),
        { context_window_id: conversation },
        keyed(conversation, two),
      ],
    }
    const headers = { "Idempotency-Key": freshKey() }
    const first = await (await postBatch(batch, headers)).json()
    expect(await (await postBatch(batch, headers)).json()).toEqual(first)
  })
})
