import { describe, expect, it } from "vitest"
import { app } from "../../../../src/app.ts"
import type { Bindings } from "../../../../src/bindings.ts"
import { bindings, freshConversation } from "../../service.ts"

const request = (path: string, settings: Partial<Bindings> = {}, init: RequestInit = {}) =>
  app.request(path, init, { ...bindings, ...settings })

const batch = (): RequestInit => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ signals: [{ context_window_id: freshConversation() }] }),
})

const UNREADABLE: [string, Partial<Bindings>, string][] = [
  [
    "no secrets are set",
    { CLOUDFLARE_ACCOUNT_ID: "", ANALYTICS_API_TOKEN: "" },
    "CLOUDFLARE_ACCOUNT_ID and ANALYTICS_API_TOKEN",
  ],
  ["one secret is missing", { CLOUDFLARE_ACCOUNT_ID: "a", ANALYTICS_API_TOKEN: "" }, "are not both set"],
  [
    "nobody answers",
    { CLOUDFLARE_ACCOUNT_ID: "a", ANALYTICS_API_TOKEN: "b", ANALYTICS_SQL_ENDPOINT: "http://127.0.0.1:9" },
    "did not answer",
  ],
]

describe.each(["/api/metrics", "/metrics"])("%s", (path) => {
  it.each(UNREADABLE)(
    "is a 503 with the reason when %s, and ingestion continues",
    async (_, settings, words) => {
      const response = await request(path, settings)
      expect([response.status, response.headers.get("Retry-After")]).toEqual([503, "2"])
      expect(await response.json()).toEqual({
        detail: expect.stringContaining(words),
        code: "metrics_unavailable",
      })
      expect((await request("/api/signals/batch", settings, batch())).status).toBe(200)
    },
  )

  it("needs the scope read", async () => {
    expect((await request(path, { OPEN_ACCESS: "false" })).status).toBe(401)
    expect((await request(path, {}, { method: "POST" })).status).toBe(405)
  })
})

describe("a window", () => {
  it("is 422 when it is unknown, and the answer names the known ones", async () => {
    const response = await request("/api/metrics?window=2h")
    expect(response.status).toBe(422)
    expect(JSON.stringify(await response.json())).toMatch(/15m.*1h.*24h.*7d/)
  })
})
