import { afterEach, describe, expect, it, vi } from "vitest"
import { app } from "../../src/app.ts"
import { bindings, freshConversation, postBatch, send } from "./service.ts"

afterEach(() => vi.restoreAllMocks())

describe("every answer", () => {
  it.each(["/healthz", "/api/signals", "/nowhere", "/api/signals/batch"])(
    "of %s carries a request id and security headers",
    async (path) => {
      const { headers } = await send(path)
      expect(headers.get("X-Request-Id")).toMatch(/^[0-9a-f-]{36}$/)
      expect(headers.get("X-Content-Type-Options")).toBe("nosniff")
      expect(headers.get("Content-Security-Policy")).toContain("default-src 'none'")
    },
  )

  it("has the sender's request id beside our own, if it is a token", async () => {
    const idsOf = async (chosen: string) => {
      const { headers } = await send("/healthz", { headers: { "X-Request-Id": chosen } })
      return [headers.get("X-Request-Id"), headers.get("X-Client-Request-Id")]
    }
    expect(await idsOf("trace-1")).toEqual([expect.stringMatching(/^[0-9a-f-]{36}$/), "trace-1"])
    expect(await idsOf("a b<c>")).toEqual([expect.stringMatching(/^[0-9a-f-]{36}$/), null])
  })

  it.each(["/api/signals", "/api/signals/batch", "/api/nowhere", "/metrics"])(
    "of %s must not be cached",
    async (path) => expect((await send(path)).headers.get("Cache-Control")).toBe("no-store"),
  )
})

describe("a wrong address", () => {
  it("is 404 in JSON", async () => {
    const response = await send("/nowhere")
    expect([response.status, await response.json()]).toEqual([
      404,
      { detail: "Not Found", code: "not_found" },
    ])
  })

  it.each([
    ["GET", "/api/signals/batch", "POST"],
    ["DELETE", "/api/signals", "POST, GET, HEAD"],
    ["PUT", "/api/signals/1", "GET, HEAD"],
    ["POST", "/api/batches/0190a1b2-0000-7000-8000-000000000000", "GET, HEAD"],
    ["POST", "/healthz", "GET, HEAD"],
    ["POST", "/readyz", "GET, HEAD"],
    ["GET", "/webhooks/slack", "POST"],
    ["OPTIONS", "/api/metrics", "GET, HEAD"],
  ])("with the method %s at %s is 405 and names %s", async (method, path, allowed) => {
    const response = await send(path, { method })
    expect([response.status, response.headers.get("Allow")]).toEqual([405, allowed])
  })
})

describe("the log", () => {
  it("has one line of JSON for each request, with counts, and without a key, a body or a connection string", async () => {
    const lines: string[] = []
    vi.spyOn(console, "log").mockImplementation((line) => lines.push(line))
    await app.request(
      "/api/signals/batch",
      {
        method: "POST",
        headers: {
          "Content-Type": "application/json",
          Authorization: "Bearer s3cret",
          "Idempotency-Key": "s3cret-key",
          "X-Request-Id": "id-1",
        },
        body: JSON.stringify({
          signals: [
            { context_window_id: "s3cret", signal_score: 2 },
            { context_window_id: freshConversation() },
          ],
        }),
      },
      bindings,
    )
    expect(lines).toHaveLength(1)
    expect(lines[0]).not.toMatch(/s3cret|postgres/)
    expect(JSON.parse(lines[0] ?? "")).toEqual({
      event: "request",
      request_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      client_request_id: "id-1",
      method: "POST",
      route: "/api/signals/batch",
      status: 200,
      ms: expect.any(Number),
      caller: "anonymous",
      mode: "best_effort",
      total: 2,
      failed: 1,
      codes: { out_of_range: 1 },
      duplicates: 0,
      replayed: false,
      transaction_id: expect.any(String),
      database_attempts: 1,
      database_ms: expect.any(Number),
    })
  })
})

describe("the Worker's cron trigger", () => {
  it("releases idempotency keys older than seven days, and no younger ones", async () => {
    const { default: worker } = await import("../../src/index.ts")
    const { query } = await import("./service.ts")
    const [old, young] = [crypto.randomUUID(), crypto.randomUUID()]
    for (const key of [old, young])
      await postBatch({ signals: [{ context_window_id: "a" }] }, { "Idempotency-Key": key })
    await query("update batches set created_at = now() - interval '8 days' where idempotency_key = $1", [old])
    await worker.scheduled({} as ScheduledController, bindings)
    const left = await query("select idempotency_key from batches where idempotency_key = any($1)", [
      [old, young],
    ])
    expect(left).toEqual([{ idempotency_key: young }])
  })
})
