import { describe, expect, it, vi } from "vitest"
import { app } from "../../../src/app.ts"
import type { BatchAnswer } from "../../../src/signals/responses.ts"
import { bindings, freshConversation, postBatch, postJson, send } from "../service.ts"

const nested = (levels: number) => `${"[".repeat(levels)}${"]".repeat(levels)}`

describe("a batch with more validation errors than zod can hold", () => {
  it("is answered with the first 100, and that there are more", async () => {
    const wrong = {
      context_window_id: 1,
      raw_content: 1,
      user_id: 1,
      agent_id: 1,
      payload: 1,
      timestamp: {},
      signal_vector: 1,
    }
    const response = await postBatch({
      signals: Array(10_000).fill({
        ...wrong,
        signal_source: 1,
        dedupe_key: 1,
        signal_score: "",
        emotional_tone: "",
        escalate_flag: "",
        diagnostic_notes: 1,
        relationship_context: 1,
      }),
    })
    const { detail } = (await response.json()) as { detail: { type: string; loc: unknown[] }[] }
    expect([response.status, detail.length, detail.at(-1)?.type]).toEqual([422, 101, "too_many_errors"])
    expect(detail[0]?.loc).toEqual(["body", "signals", 0, "context_window_id"])
  })
})

describe("a field named __proto__", () => {
  it("is named as ignored", async () => {
    const body = `{"signals":[{"context_window_id":"${freshConversation()}","__proto__":{"a":1}}]}`
    expect(((await (await postBatch(body)).json()) as BatchAnswer).ignored_fields).toEqual(["__proto__"])
  })
})

describe("a signal that nests too deeply", () => {
  it("fails alone, although another one has a number of 20 digits", async () => {
    const conversation = freshConversation()
    const body = `{"signals":[{"context_window_id":"${conversation}","payload":{"n":12345678901234567890}},{"context_window_id":"a","payload":{"a":${nested(100_000)}}}]}`
    expect(await (await postBatch(body)).json()).toMatchObject({
      results: [{ success: true }, { error: "payload must not nest deeper than 64 levels" }],
    })
    const rows = (await (await send(`/api/signals?context_window_id=${conversation}`)).text()) as string
    expect(rows).toContain("12345678901234567890")
  })

  it.each([
    ["a CloudEvent", `{"specversion":"1.0","id":"1","source":"s","type":"t","data":${nested(100_000)}}`],
    [
      "a CloudEvent in base64",
      `{"specversion":"1.0","id":"2","source":"s","type":"t","data_base64":"${btoa(nested(100_000))}"}`,
    ],
    ["a record", `{"records":[{"value":${nested(100_000)}}]}`],
    [
      "one of Debezium's",
      `{"specversion":"1.0","id":"3","source":"s","type":"io.debezium.x","data":${nested(7000)}}`,
    ],
  ])("is kept as the text of a dead letter: %s", async (_, body) => {
    const response = await postJson("/webhooks/kafka", body)
    expect(response.status).toBe(200)
    expect(await response.json()).toMatchObject({
      failed_count: 1,
      failures: [{ error: "the record nests deeper than 1000 levels" }],
    })
  })
})

describe("too much to build", () => {
  it.each([
    ["records", "/webhooks/kafka", `{"records":[${Array(600_000).fill("{}").join()}]}`, "application/json"],
    ["lines of NDJSON", "/webhooks/kafka", "{}\n".repeat(20_000), "application/x-ndjson"],
    ["values one after another", "/webhooks/kafka", "{}".repeat(20_000), "application/json"],
    ["arrays", "/api/signals/batch", nested(600_000), "application/json"],
  ])("is refused with 413: %s", async (_, path, body, type) => {
    const response = await send(path, { method: "POST", body, headers: { "Content-Type": type } })
    expect(response.status).toBe(413)
  })
})

describe("text that cannot be stored", () => {
  it.each(["context_window_id=%00", "signal_source=a%00b"])("is 422 in a query: %s", async (query) => {
    const response = await send(`/api/signals?${query}`)
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({
      detail: [{ msg: "Value error, this must not contain U+0000" }],
    })
  })
})

describe("a body that is cut off on its way", () => {
  it("is 400, and not an error of the service", async () => {
    const log = vi.spyOn(console, "log").mockImplementation(() => undefined)
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(new TextEncoder().encode('{"signals":[')),
      pull: () => Promise.reject(new Error("Network connection lost.")),
    })
    const request = new Request("http://signal-ingest.test/api/signals/batch", {
      method: "POST",
      body,
      headers: { "Content-Type": "application/json" },
    })
    const response = await app.request(request, undefined, bindings)
    expect(response.status).toBe(400)
    expect(JSON.parse(log.mock.lastCall?.[0])).not.toHaveProperty("error")
    log.mockRestore()
  })
})

describe("a body that is not read", () => {
  const unread = async (path: string, headers: Record<string, string>, settings: object) => {
    const pulled = vi.fn()
    const body = new ReadableStream({ pull: pulled }, { highWaterMark: 0 })
    const response = await app.request(path, { method: "POST", body, headers }, { ...bindings, ...settings })
    return [response.status, pulled.mock.calls.length]
  }

  it.each([
    ["without a secret", {}, { WEBHOOK_SECRET: "" }],
    ["with an old time", { "webhook-timestamp": "1531420618" }, {}],
    ["with 3,000 signatures", { "webhook-signature": Array(3000).fill("v1,").join(" ") }, {}],
  ])("is not read by /webhooks/kafka %s", async (_, headers, settings) => {
    const good = {
      "webhook-id": "a",
      "webhook-timestamp": String(Math.floor(Date.now() / 1000)),
      "webhook-signature": `v1,${btoa("x".repeat(32))}`,
    }
    expect(
      await unread(
        "/webhooks/kafka",
        { ...good, ...headers },
        { WEBHOOK_SECRET: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", ...settings },
      ),
    ).toEqual([401, 0])
  })
})
