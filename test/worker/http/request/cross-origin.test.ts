import { describe, expect, it } from "vitest"
import { app } from "../../../../src/app.ts"
import type { Bindings } from "../../../../src/bindings.ts"
import { ConfigurationError, readSettings } from "../../../../src/config.ts"
import { bindings, countOf, freshConversation } from "../../service.ts"

const PAGE = "https://app.example.com"
const OTHER = "https://evil.example"
const KEY = "page-key"
const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(KEY))
const API_KEYS = JSON.stringify([
  { name: "page", sha256: new Uint8Array(digest).toHex(), scopes: ["ingest"] },
])

const settings = { CORS_ORIGINS: ` ${PAGE}, http://localhost:5173 `, OPEN_ACCESS: "false", API_KEYS }
const request = (path: string, init: RequestInit, more: Partial<Bindings> = {}) =>
  app.request(path, init, { ...bindings, ...settings, ...more })
const preflight = (origin: string, path = "/api/signals/batch", more: Partial<Bindings> = {}) =>
  request(
    path,
    {
      method: "OPTIONS",
      headers: {
        Origin: origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-encoding,content-type,idempotency-key",
      },
    },
    more,
  )
const corsHeaders = ({ headers }: Response) =>
  [...headers.keys()].filter((name) => name.startsWith("access-control-"))
const write = (headers: Record<string, string>, more: Partial<Bindings> = {}, body = "{}") =>
  request(
    "/api/signals",
    { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body },
    more,
  )

describe("a preflight", () => {
  it.each([PAGE, "http://localhost:5173"])(
    "of %s is answered without a key, for two hours",
    async (origin) => {
      const response = await preflight(origin)
      expect(response.status).toBe(204)
      expect(response.headers.get("Access-Control-Allow-Origin")).toBe(origin)
      expect(response.headers.get("Access-Control-Max-Age")).toBe("7200")
      expect(response.headers.get("Access-Control-Allow-Methods")).toBe("GET,HEAD,POST,PATCH,DELETE")
      expect(response.headers.get("Access-Control-Allow-Headers")).toBe(
        "Authorization,Content-Encoding,Content-Type,Idempotency-Key,Prefer,X-Request-Id,baggage,sentry-trace,traceparent,tracestate",
      )
      expect(response.headers.get("Access-Control-Allow-Credentials")).toBeNull()
      expect(response.headers.get("Vary")).toContain("Origin")
    },
  )

  it.each([
    OTHER,
    "null",
    `${PAGE}.evil.example`,
    `${PAGE}:8443`,
    "http://app.example.com",
    "HTTPS://APP.EXAMPLE.COM",
  ])("of %s is not answered, and no cache confuses it with an allowed origin", async (origin) => {
    const response = await preflight(origin)
    expect([response.status, corsHeaders(response)]).toEqual([401, []])
    expect(response.headers.get("Vary")).toBe("Origin")
  })

  it("is only for /api", async () => {
    for (const path of ["/metrics", "/webhooks/kafka", "/webhooks/slack", "/readyz", "/healthz"]) {
      const response = await preflight(PAGE, path)
      expect([path, response.ok, corsHeaders(response)]).toEqual([path, false, []])
    }
  })

  it("is not answered where no origin is configured", async () => {
    const response = await preflight(PAGE, "/api/signals", { CORS_ORIGINS: "" })
    expect([response.status, corsHeaders(response), response.headers.get("Vary")]).toEqual([401, [], null])
  })

  it("is an OPTIONS request that asks for a method; any other OPTIONS request is an ordinary one", async () => {
    const init = { method: "OPTIONS", headers: { Origin: PAGE } }
    expect((await request("/api/signals", init)).status).toBe(401)
    expect((await request("/api/signals", init, { OPEN_ACCESS: "true" })).status).toBe(405)
  })
})

describe("a page of a configured origin", () => {
  const authorized = { Origin: PAGE, "Sec-Fetch-Site": "cross-site", Authorization: `Bearer ${KEY}` }

  it("writes, and reads the answer and its headers", async () => {
    const context_window_id = freshConversation()
    const response = await write(authorized, {}, JSON.stringify({ context_window_id }))
    expect([response.status, await countOf(context_window_id)]).toEqual([201, 1])
    expect(response.headers.get("Access-Control-Allow-Origin")).toBe(PAGE)
    expect(response.headers.get("Vary")).toBe("Origin")
    const exposed = response.headers.get("Access-Control-Expose-Headers")?.split(",")
    expect(exposed).toEqual(
      expect.arrayContaining(["Accept-Encoding", "Retry-After", "X-Request-Id", "RateLimit-Policy"]),
    )
  })

  const limiter = { limit: async () => ({ success: false }) }
  const errors: [number, Record<string, string>, Partial<Bindings>][] = [
    [401, { Origin: PAGE }, {}],
    [403, { ...authorized }, { API_KEYS: API_KEYS.replace("ingest", "read") }],
    [413, { ...authorized, "Content-Length": "100000000" }, {}],
    [422, authorized, {}],
    [429, authorized, { ADDRESS_RATE_LIMITER: limiter }],
    [503, authorized, { DATABASE_HTTP_ENDPOINT: "http://127.0.0.1:9/sql", DATABASE_DEADLINE_MS: "50" }],
  ]
  it.each(errors)("reads an error: %d", async (status, headers, more) => {
    const body = status === 503 ? JSON.stringify({ context_window_id: freshConversation() }) : "{}"
    const response = await write(headers, more, body)
    expect([response.status, response.headers.get("Access-Control-Allow-Origin")]).toEqual([status, PAGE])
  })

  it("writes where access is open, and reads; at /metrics and the webhooks it is refused", async () => {
    const open = { OPEN_ACCESS: "true", API_KEYS: "" }
    const headers = { Origin: PAGE, "Sec-Fetch-Site": "cross-site" }
    const context_window_id = freshConversation()
    expect((await write(headers, open, JSON.stringify({ context_window_id }))).status).toBe(201)
    expect((await request("/api/signals?limit=1", { headers }, open)).status).toBe(200)
    expect((await request("/metrics", { headers }, open)).status).toBe(403)
    expect((await request("/webhooks/kafka", { method: "POST", body: "{}", headers }, open)).status).toBe(403)
  })

  it("does not allow other pages", async () => {
    const open = { OPEN_ACCESS: "true", API_KEYS: "" }
    for (const headers of [
      { Origin: OTHER, "Sec-Fetch-Site": "cross-site" },
      { "Sec-Fetch-Site": "cross-site" },
    ]) {
      const response = await write(headers, open, JSON.stringify({ context_window_id: freshConversation() }))
      expect([response.status, corsHeaders(response)]).toEqual([403, []])
    }
  })
})

describe("CORS_ORIGINS", () => {
  it.each([
    "*",
    "null",
    "app.example.com",
    "https://app.example.com/",
    "https://app.example.com/path",
    "https://APP.example.com",
    "https://app.example.com:443",
    "https://*.example.com",
    "file://",
    "https://user@app.example.com",
    Array.from({ length: 51 }, (_, index) => `https://a${index}.example.com`).join(),
  ])("must not be %s", (CORS_ORIGINS) =>
    expect(() => readSettings({ ...bindings, CORS_ORIGINS })).toThrow(ConfigurationError),
  )

  it.each([
    ["", []],
    ["https://a.example, http://127.0.0.1:3000,", ["https://a.example", "http://127.0.0.1:3000"]],
  ])("%j means %j", (CORS_ORIGINS, origins) =>
    expect(readSettings({ ...bindings, CORS_ORIGINS }).access.origins).toEqual(origins),
  )
})
