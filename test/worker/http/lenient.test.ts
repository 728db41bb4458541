import { describe, expect, it } from "vitest"
import type { BatchAnswer } from "../../../src/signals/responses.ts"
import { countOf, freshConversation, postBatch, query, send } from "../service.ts"
import { postTo, recordOf } from "./routes/queued.ts"

const LENIENT = { Prefer: "handling=lenient" }
const JSON_TYPE = { "Content-Type": "application/json" }
const LINES = { "Content-Type": "application/x-ndjson" }

/** Of three signals the second has no conversation. */
const mixed = (conversation: string) => ({
  signals: [
    { context_window_id: conversation },
    { raw_content: "lost" },
    { context_window_id: conversation },
  ],
})
const MISSING = {
  index: 1,
  error: "context_window_id: Field required",
  code: "missing_field",
  field: "context_window_id",
}

describe("a batch with Prefer: handling=lenient", () => {
  it("stores the other signals where one has the wrong shape", async () => {
    const conversation = freshConversation()
    const response = await postBatch(mixed(conversation), LENIENT)
    expect([response.status, response.headers.get("Preference-Applied")]).toEqual([200, "handling=lenient"])
    const answer = (await response.json()) as BatchAnswer
    expect(answer).toMatchObject({
      total_count: 3,
      successful_count: 2,
      failed_count: 1,
      results: [
        { success: true },
        { ...MISSING, success: false, signal_id: null, retryable: false },
        { success: true },
      ],
    })
    expect(await countOf(conversation)).toBe(2)
    expect(await recordOf(answer.transaction_id ?? "")).toMatchObject({
      total_count: 3,
      failed_count: 1,
      failures: [MISSING],
    })
  })

  it("stores the other lines where one is not JSON, whatever it contains", async () => {
    const conversation = freshConversation()
    const line = JSON.stringify({ context_window_id: conversation })
    const text = `${line}\n{"a": \0 \u{1F600}\n\n${line}\n`
    const response = await postBatch(text, { ...LINES, Prefer: "return=minimal, handling=lenient" })
    expect(response.headers.get("Preference-Applied")).toBe("return=minimal, handling=lenient")
    expect(await response.json()).toMatchObject({
      successful_count: 2,
      results: [{ index: 1, code: "invalid_json", error: expect.stringMatching(/^Invalid JSON: line 2: /) }],
    })
    expect(await countOf(conversation)).toBe(2)
  })

  it("is recorded in the ledger even when every signal fails", async () => {
    const answer = (await (await postBatch({ signals: [7, {}] }, LENIENT)).json()) as BatchAnswer
    expect(answer).toMatchObject({ total_count: 2, successful_count: 0, failed_count: 2 })
    expect(await recordOf(answer.transaction_id ?? "")).toMatchObject({ state: "stored", failed_count: 2 })
  })

  it("fails a signal over 1 MiB alone, as without it", async () => {
    const conversation = freshConversation()
    const signals = [
      { context_window_id: conversation, raw_content: "x".repeat(1024 * 1024) },
      { context_window_id: conversation },
    ]
    expect(await (await postBatch({ signals }, LENIENT)).json()).toMatchObject({
      successful_count: 1,
      results: [{ code: "too_large" }, { success: true }],
    })
  })

  it.each([
    ["in the body", "", { fail_on_error: true }],
    ["in the query", "?fail_on_error=true", {}],
  ])(
    "is refused as a whole with fail_on_error %s, and the answer names no preference",
    async (_, search, more) => {
      const conversation = freshConversation()
      const body = JSON.stringify({ ...mixed(conversation), ...more })
      const response = await send(`/api/signals/batch${search}`, {
        method: "POST",
        body,
        headers: { ...LENIENT, ...JSON_TYPE },
      })
      expect([response.status, response.headers.get("Preference-Applied")]).toEqual([422, null])
      expect(await response.json()).toMatchObject({
        detail: [{ type: "missing", loc: ["body", "signals", 1, "context_window_id"] }],
      })
      expect(await countOf(conversation)).toBe(0)
    },
  )

  it.each([
    ["is not JSON", '{"signals": [', JSON_TYPE],
    ["has no list of signals", '{"signals": {}}', JSON_TYPE],
    ["is not UTF-8 NDJSON", new Uint8Array([0x7b, 0xff]), LINES],
  ])("is refused with 422 where the body %s", async (_, body, headers) => {
    const response = await send("/api/signals/batch", {
      method: "POST",
      body,
      headers: { ...LENIENT, ...headers },
    })
    expect(response.status).toBe(422)
  })

  it("is refused with 413 with more lines than a batch may have, readable or not", async () =>
    expect((await postBatch("x\n".repeat(10_001), { ...LENIENT, ...LINES })).status).toBe(413))

  it.each([undefined, "handling=strict", "handling"])(
    "is refused as a whole with Prefer: %s",
    async (prefer) => {
      const response = await postBatch(
        mixed(freshConversation()),
        prefer === undefined ? {} : { Prefer: prefer },
      )
      expect([response.status, response.headers.get("Preference-Applied")]).toEqual([422, null])
    },
  )

  it("counts its failures in the data point", async () => {
    const points: AnalyticsEngineDataPoint[] = []
    const METRICS = {
      writeDataPoint: (point: AnalyticsEngineDataPoint) => void points.push(point),
    } as AnalyticsEngineDataset
    await postTo(mixed(freshConversation()), LENIENT, { METRICS })
    expect(points[0]).toMatchObject({
      blobs: expect.arrayContaining(["best_effort", "partly_stored"]),
      doubles: expect.arrayContaining([3, 2, 1]),
    })
  })
})

describe("a lenient batch with respond-async", () => {
  it("is planned once, when it is accepted", async () => {
    const conversation = freshConversation()
    const response = await postBatch(mixed(conversation), { Prefer: "respond-async, handling=lenient" })
    expect([response.status, response.headers.get("Preference-Applied")]).toEqual([
      202,
      "respond-async, handling=lenient",
    ])
    const { transaction_id, failures } = (await response.json()) as {
      transaction_id: string
      failures: unknown
    }
    expect(failures).toEqual([{ ...MISSING, retryable: false }])
    await expect
      .poll(() => recordOf(transaction_id))
      .toMatchObject({ state: "stored", total_count: 3, successful_count: 2, failures: [MISSING] })
    expect(await countOf(conversation)).toBe(2)
  })
})

describe("the Idempotency-Key of a lenient batch", () => {
  const keyed = () => ({ "Idempotency-Key": crypto.randomUUID() })

  it("returns the first answer again, failures included", async () => {
    const conversation = freshConversation()
    const headers = { ...LENIENT, ...keyed() }
    const first = await (await postBatch(mixed(conversation), headers)).json()
    const again = await postBatch(mixed(conversation), headers)
    expect(again.headers.get("Idempotency-Replayed")).toBe("true")
    expect(await again.json()).toEqual(first)
    expect(await countOf(conversation)).toBe(2)
  })

  it("identifies the same request without the preference, so that a sender can add it between two attempts", async () => {
    const conversation = freshConversation()
    const body = { signals: [{ context_window_id: conversation }] }
    const key = keyed()
    const first = await (await postBatch(body, key)).json()
    const again = await postBatch(body, { ...key, ...LENIENT })
    expect([again.headers.get("Idempotency-Replayed"), await again.json()]).toEqual(["true", first])
    expect(await countOf(conversation)).toBe(1)
  })

  it("can still be used after the batch was refused without the preference, and is then reserved for the request with it", async () => {
    const conversation = freshConversation()
    const key = keyed()
    expect((await postBatch(mixed(conversation), key)).status).toBe(422)
    expect((await postBatch(mixed(conversation), { ...key, ...LENIENT })).status).toBe(200)
    const strict = await postBatch(mixed(conversation), key)
    expect([strict.status, await strict.json()]).toMatchObject([422, { detail: [{ type: "missing" }] }])
    expect(await countOf(conversation)).toBe(2)
    const rows = await query("select 1 from batches where idempotency_key = $1", [key["Idempotency-Key"]])
    expect(rows).toHaveLength(1)
  })
})
