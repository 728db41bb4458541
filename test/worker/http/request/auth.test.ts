import { describe, expect, it } from "vitest"
import { app } from "../../../../src/app.ts"
import type { Bindings } from "../../../../src/bindings.ts"
import type { BatchAnswer } from "../../../../src/signals/responses.ts"
import { bindings, countOf, freshConversation } from "../../service.ts"

const sha256 = async (text: string) =>
  new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))).toHex()

const API_KEYS = JSON.stringify([
  { name: "bridge", sha256: await sha256("bridge-key"), scopes: ["ingest"] },
  { name: "other-bridge", sha256: (await sha256("other-key")).toUpperCase(), scopes: ["ingest"] },
  { name: "dashboard", sha256: await sha256("dashboard-key"), scopes: ["read"] },
])

/** The service as a deployment with these settings. */
const deployment =
  (settings: Partial<Bindings>) =>
  (path: string, key?: string, init: RequestInit = {}) =>
    app.request(
      path,
      { ...init, headers: { ...init.headers, ...(key !== undefined && { Authorization: `Bearer ${key}` }) } },
      {
        ...bindings,
        OPEN_ACCESS: "false",
        API_KEYS: "",
        ...settings,
      },
    )

const batch = () => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ signals: [{ context_window_id: freshConversation() }] }),
})

describe("a deployment with keys", () => {
  const request = deployment({ API_KEYS })

  it.each([
    ["no key", undefined, "Send an API key as Authorization: Bearer KEY."],
    ["an unknown key", "guess", "This API key is not known."],
  ])("refuses %s with 401", async (_, key, detail) => {
    const response = await request("/api/signals", key)
    expect([response.status, await response.json()]).toEqual([401, { detail, code: "unauthorized" }])
    expect(response.headers.get("WWW-Authenticate")).toMatch(/^Bearer/)
  })

  it("refuses a key without the scope with 403, naming the scope", async () => {
    expect((await request("/api/signals", "bridge-key")).status).toBe(403)
    const response = await request("/api/signals/batch", "dashboard-key", batch())
    expect([response.status, await response.json()]).toEqual([
      403,
      { detail: 'This key lacks the scope "ingest".', code: "insufficient_scope" },
    ])
  })

  it("allows each key what its scopes allow", async () => {
    expect((await request("/api/signals/batch", "bridge-key", batch())).status).toBe(200)
    expect((await request("/api/signals", "dashboard-key")).status).toBe(200)
  })

  it("shows a key with only the scope ingest its own batches in the ledger, and no other caller's", async () => {
    const { transaction_id } = (await (
      await request("/api/signals/batch", "bridge-key", batch())
    ).json()) as BatchAnswer
    const statusFor = async (key: string) => (await request(`/api/batches/${transaction_id}`, key)).status
    expect([
      await statusFor("bridge-key"),
      await statusFor("dashboard-key"),
      await statusFor("other-key"),
    ]).toEqual([200, 200, 404])
  })

  it("keeps the callers' idempotency keys apart", async () => {
    const headers = { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID() }
    const replayed = async (key: string) =>
      (
        await request("/api/signals/batch", key, {
          ...batch(),
          headers,
          body: '{"signals":[{"context_window_id":"a"}]}',
        })
      ).headers.has("Idempotency-Replayed")
    expect([await replayed("bridge-key"), await replayed("other-key"), await replayed("bridge-key")]).toEqual(
      [false, false, true],
    )
  })

  it("needs no key for its health", async () => {
    for (const path of ["/healthz", "/readyz"]) expect((await request(path)).status, path).toBe(200)
  })
})

describe("a deployment without a key", () => {
  it("refuses every call, and says why", async () => {
    const response = await deployment({})("/api/signals", "any")
    expect([response.status, await response.json()]).toEqual([
      401,
      { detail: "No API key is configured, so every call is refused. Set API_KEYS.", code: "unauthorized" },
    ])
  })

  it("accepts everyone with open access", async () =>
    expect((await deployment({ OPEN_ACCESS: "true" })("/api/signals")).status).toBe(200))
})

describe("a caller over its rate", () => {
  it("gets 429 over its own limit, which affects no other caller", async () => {
    const counted: string[] = []
    const RATE_LIMITER: RateLimit = {
      async limit({ key }) {
        counted.push(key)
        return { success: key !== "caller:bridge" }
      },
    }
    const request = deployment({ API_KEYS, RATE_LIMITER })
    const response = await request("/api/signals/batch", "bridge-key", batch())
    expect([response.status, response.headers.get("Retry-After")]).toEqual([429, "10"])
    expect((await request("/api/signals/batch", "other-key", batch())).status).toBe(200)
    expect(counted).toEqual(["caller:bridge", "caller:other-bridge"])
  })
})

describe("a duplicate of another caller's signal", () => {
  const request = deployment({ API_KEYS })
  const sendSingle = (key: string, dedupe_key: string, text: string) =>
    request("/api/signals", key, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ context_window_id: freshConversation(), raw_content: text, dedupe_key }),
    })

  it("is acknowledged with its id, and shown only to the caller that stored it", async () => {
    const dedupeKey = crypto.randomUUID()
    const { id } = (await (await sendSingle("bridge-key", dedupeKey, "a secret")).json()) as { id: number }
    const other = await sendSingle("other-key", dedupeKey, "x")
    expect([other.status, await other.json()]).toEqual([200, { id, duplicate: true }])
    const own = await sendSingle("bridge-key", dedupeKey, "x")
    expect([own.status, await own.json()]).toEqual([
      200,
      expect.objectContaining({ id, duplicate: true, raw_content: "a secret" }),
    ])
  })
})

describe("a dedupe key of the bridges", () => {
  const keys = async (scopes: string[]) =>
    deployment({ API_KEYS: JSON.stringify([{ name: "sender", sha256: await sha256("the-key"), scopes }]) })
  const KEYS = ["slack:T1/C1/", "kafka:topic/0/", "cloudevent:/source "].map(
    (prefix) => prefix + crypto.randomUUID(),
  )
  const body = () =>
    JSON.stringify({
      signals: KEYS.map((dedupe_key) => ({ context_window_id: freshConversation(), dedupe_key })),
    })
  const sendTo = async (path: string, text: string, scopes: string[]) =>
    (await keys(scopes))(path, "the-key", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: text,
    })

  it("fails its signal without the scope bridge, on every route", async () => {
    const answer = (await (await sendTo("/api/signals/batch", body(), ["ingest"])).json()) as BatchAnswer
    expect(answer.results.map(({ error }) => error)).toEqual(
      ["slack:", "kafka:", "cloudevent:"].map(
        (prefix) => `dedupe_key must not begin with ${prefix} unless the key has the scope bridge`,
      ),
    )
    const single = JSON.stringify({ context_window_id: "a", dedupe_key: KEYS[0] })
    expect((await sendTo("/api/signals", single, ["ingest"])).status).toBe(422)
    expect(await (await sendTo("/webhooks/kafka", single, ["ingest"])).json()).toMatchObject({
      accepted_count: 0,
      failed_count: 1,
    })
  })

  it("is stored with the scope bridge", async () => {
    const answer = (await (
      await sendTo("/api/signals/batch", body(), ["ingest", "bridge"])
    ).json()) as BatchAnswer
    expect(answer.successful_count).toBe(3)
  })
})

describe("a key named anonymous", () => {
  it("is refused, since that is the name of callers without a key", async () => {
    const API_KEYS = JSON.stringify([{ name: "anonymous", sha256: await sha256("k"), scopes: ["ingest"] }])
    expect((await deployment({ API_KEYS })("/api/signals", "k")).status).toBe(503)
  })
})

describe("an address over its rate", () => {
  const ADDRESS_RATE_LIMITER: RateLimit = {
    limit: async ({ key }) => ({ success: key !== "address:2001:db8:0:1::/64" }),
  }
  const from = (address: string) => ({
    ...batch(),
    headers: { ...batch().headers, "CF-Connecting-IP": address },
  })

  it("gets 429 before its key is checked, as do the other addresses of its IPv6 /64", async () => {
    const request = deployment({ API_KEYS, ADDRESS_RATE_LIMITER })
    for (const address of ["2001:db8:0:1::7", "2001:DB8::1:ffff:0:0:1", "2001:0db8:0:0001::"])
      expect((await request("/api/signals/batch", "nobody's", from(address))).status, address).toBe(429)
    expect((await request("/api/signals/batch", "nobody's", from("2001:db8:0:2::7"))).status).toBe(401)
    expect((await request("/api/signals/batch", "bridge-key", from("192.0.2.1"))).status).toBe(200)
  })

  it.each(["/webhooks/slack", "/webhooks/kafka", "/metrics", "/readyz", "/api/signals"])(
    "is refused at %s",
    async (path) => {
      const request = deployment({ API_KEYS, ADDRESS_RATE_LIMITER })
      const init = {
        method: path.startsWith("/webhooks") ? "POST" : "GET",
        headers: { "CF-Connecting-IP": "2001:db8:0:1::7" },
      }
      expect((await request(path, undefined, init)).status).toBe(429)
    },
  )
})

describe("a large request", () => {
  it("counts one unit for each 1,000 signals or MiB, or a part of it", async () => {
    const counted: string[] = []
    const RATE_LIMITER: RateLimit = { limit: async ({ key }) => ({ success: counted.push(key) < 10 }) }
    const request = deployment({ API_KEYS, RATE_LIMITER })
    const sendMany = (signals: object[]) =>
      request("/api/signals/batch", "bridge-key", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ signals }),
      })
    const conversation = freshConversation()
    const signal = { context_window_id: conversation }
    expect((await sendMany(Array(1000).fill(signal))).status).toBe(200)
    expect(counted).toHaveLength(1)
    expect((await sendMany(Array(1001).fill(signal))).status).toBe(200)
    expect(counted).toHaveLength(3)
    const heavy = { ...signal, raw_content: "x".repeat(900_000) }
    expect((await sendMany([heavy, heavy])).status).toBe(200)
    expect(counted).toHaveLength(5)
    expect((await sendMany(Array(10_000).fill(signal))).status).toBe(429)
    expect(await countOf(conversation)).toBe(2003)
  })
})

describe("a rate limiter that fails", () => {
  it("costs no signal", async () => {
    const RATE_LIMITER: RateLimit = { limit: () => Promise.reject(new Error("no storage")) }
    expect(
      (await deployment({ API_KEYS, RATE_LIMITER })("/api/signals/batch", "bridge-key", batch())).status,
    ).toBe(200)
  })
})

describe("a deployment with a wrong setting", () => {
  it.each([
    { DATABASE_URL: "" },
    { DATABASE_URL: "https://user:s3cret@host/db" },
    { API_KEYS: '[{"name":"s3cret","sha256":"abc","scopes":["ingest"]}]' },
    { API_KEYS: "s3cret" },
    { MAX_SIGNALS: "many" },
    { MAX_FUTURE_SECONDS: "0" },
    { MAX_FUTURE_SECONDS: "3155760001" },
  ])("answers 503 and does not reveal it: %j", async (settings) => {
    const response = await deployment(settings)("/readyz")
    expect(response.status).toBe(503)
    expect(await response.text()).not.toContain("s3cret")
  })
})
