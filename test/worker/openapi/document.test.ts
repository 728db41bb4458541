import { describe, expect, it } from "vitest"
import type * as z from "zod"
import type { ZodOpenApiOperationObject, ZodOpenApiResponseObject } from "zod-openapi"
import { app } from "../../../src/app.ts"
import type { Bindings } from "../../../src/bindings.ts"
import { DESCRIPTION, openApi } from "../../../src/openapi/document.ts"
import { BAD_BATCH, BATCH } from "../../../src/openapi/examples.ts"
import { METHOD_NOT_ALLOWED } from "../../../src/openapi/operation.ts"
import { MAX_CONTAINERS } from "../../../src/signals/json.ts"
import { Signal } from "../../../src/signals/schema.ts"
import { bindings } from "../service.ts"

/** Served by the assets, not by the Worker. */
const STATIC = ["GET /openapi.json"]

const OPERATIONS: Record<string, ZodOpenApiOperationObject> = Object.fromEntries(
  Object.entries(DESCRIPTION.paths ?? {}).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => [`${method.toUpperCase()} ${path}`, operation]),
  ),
)

const responsesOf = (operation: string) =>
  Object.entries(OPERATIONS[operation]?.responses ?? {}) as [
    status: string,
    response: ZodOpenApiResponseObject,
  ][]

interface Body {
  schema: z.ZodType
  examples: [name: string, value: unknown][]
}

const bodiesOf = (part: Pick<ZodOpenApiResponseObject, "content"> | undefined): Body[] =>
  Object.values(part?.content ?? {}).map((media) => ({
    schema: media?.schema as z.ZodType,
    examples: Object.entries(media?.examples ?? {}).map(([name, example]) => [
      name,
      "value" in example && example.value,
    ]),
  }))

describe("the OpenAPI document", () => {
  it("has every route of the app, and no other", () => {
    const routes = app.routes
      .filter(({ method }) => method !== "ALL")
      .map(({ method, path }) => `${method} ${path.replace(/:(\w+)(\{[^/]*\})?/g, "{$1}")}`)
    expect(Object.keys(OPERATIONS).sort()).toEqual([...new Set([...routes, ...STATIC])].sort())
  })

  it.each(Object.entries(DESCRIPTION.paths ?? {}).filter(([path]) => path !== "/openapi.json"))(
    "describes the 405 of %s, also for TRACE",
    async (path, item) => {
      const [described] = bodiesOf(METHOD_NOT_ALLOWED)
      for (const method of ["OPTIONS", "TRACE"]) {
        const response = await app.request(path.replaceAll(/\{\w+\}/g, "1"), { method }, bindings)
        const allowed = response.headers.get("Allow")?.split(", ") ?? []
        expect([response.status, allowed.filter((name) => name !== "HEAD").sort()]).toEqual([
          405,
          Object.keys(item)
            .map((name) => name.toUpperCase())
            .sort(),
        ])
        expect(described?.schema.safeParse(await response.json()).success).toBe(true)
      }
      expect(openApi().components?.responses).toHaveProperty("MethodNotAllowed.headers.Allow")
    },
  )

  it("names every operation once", () => {
    const names = Object.values(OPERATIONS).map(({ operationId }) => operationId)
    expect(new Set(names).size).toBe(names.length)
  })

  it("has the fields of a signal from the schema that validates them", () => {
    const described = openApi().components?.schemas?.Signal as { properties: object; required: string[] }
    expect(Object.keys(described.properties)).toEqual(Object.keys(Signal.shape))
    expect(described.required).toEqual(["context_window_id"])
  })
})

describe("a parameter", () => {
  interface Parameter {
    name: string
    in: string
    schema: { type?: string; format?: string; minimum?: number; maximum?: number; default?: number }
  }
  const parameters = Object.entries(openApi().paths ?? {}).flatMap(([path, item]) =>
    Object.entries(item).flatMap(([method, operation]) =>
      ((operation as { parameters?: Parameter[] }).parameters ?? []).map((parameter): [string, Parameter] => [
        `${parameter.name} of ${method} ${path}`,
        parameter,
      ]),
    ),
  )
  const named = (...names: string[]) =>
    parameters.filter(([, { name, in: location }]) => location !== "header" && names.includes(name))

  it.each(named("limit"))("%s is an integer with its bounds and its default", (name, { schema }) => {
    const maximum = name.endsWith("/replay") ? 500 : name.endsWith("/export") ? 1_000_000 : 1000
    // An export without a limit has every signal.
    const preset = name.endsWith("/export") ? {} : { default: expect.any(Number) }
    expect(schema).toMatchObject({ type: "integer", minimum: 1, maximum, ...preset })
  })

  it.each(named("id"))("%s is an integer that JSON keeps exact", (_, { schema }) =>
    expect(schema).toMatchObject({
      type: "integer",
      format: "int64",
      minimum: 0,
      maximum: Number.MAX_SAFE_INTEGER,
    }),
  )

  it.each(named("since", "until"))("%s is a time", (_, { schema }) =>
    expect(schema).toMatchObject({ type: "string", format: "date-time" }),
  )

  it.each(named("cursor"))("%s is opaque text, like the next_cursor that it was", (_, { schema }) => {
    expect(schema.type).toBe("string")
    expect(schema).not.toHaveProperty("format")
  })
})

describe.each(Object.keys(OPERATIONS))("the description of %s", (operation) => {
  it("names each example by a phrase", () => {
    const names = responsesOf(operation).flatMap(([, response]) =>
      bodiesOf(response).flatMap(({ examples }) => examples),
    )
    for (const [name] of names) expect(name).toMatch(/^[a-z][a-z' _]+$/)
  })

  it("has an example of every answer", () => {
    const without = responsesOf(operation).filter(
      ([, response]) => !bodiesOf(response).some(({ examples }) => examples.length > 0),
    )
    expect(without).toEqual([])
  })

  it("has answers that match their schemas, without other fields", () => {
    for (const { schema, examples } of responsesOf(operation).flatMap(([, response]) => bodiesOf(response)))
      for (const [name, value] of examples) expect(schema.parse(value), name).toEqual(value)
  })

  it("has requests that the service accepts", () => {
    for (const { schema, examples } of bodiesOf(OPERATIONS[operation]?.requestBody))
      for (const [name, value] of examples) expect(schema.safeParse(value).error, name).toBeUndefined()
  })
})

const sha256 = async (text: string) =>
  new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))).toHex()

const KEYS: Partial<Bindings> = {
  OPEN_ACCESS: "false",
  API_KEYS: JSON.stringify([
    { name: "bridge", sha256: await sha256("ingest"), scopes: ["ingest"] },
    { name: "dashboard", sha256: await sha256("read"), scopes: ["read"] },
  ]),
}
const AWAY: Partial<Bindings> = {
  DATABASE_HTTP_ENDPOINT: "http://127.0.0.1:1/sql",
  DATABASE_DEADLINE_MS: "300",
}
const BUSY = {
  ADDRESS_RATE_LIMITER: { limit: async () => ({ success: false }) },
} as unknown as Partial<Bindings>
const SLACK: Partial<Bindings> = { SLACK_SIGNING_SECRET: "slack-secret" }

interface Sent {
  path: string
  body?: string | object
  headers?: Record<string, string>
  settings?: Partial<Bindings>
}

/** Sends a request to a deployment of its own. */
function refused(method: string, { path, body, headers, settings }: Sent) {
  const text = typeof body === "object" ? JSON.stringify(body) : body
  const init = {
    method,
    headers: { "Content-Type": "application/json", ...headers },
    ...(text !== undefined && { body: text }),
  }
  return app.request(path, init, { ...bindings, ...settings })
}

const key = (secret: string) => ({ Authorization: `Bearer ${secret}` })
const KEY_REUSED = { "Idempotency-Key": crypto.randomUUID() }
const FORGED = {
  "X-Slack-Request-Timestamp": String(Math.floor(Date.now() / 1000)),
  "X-Slack-Signature": `v0=${"0".repeat(64)}`,
}

const BATCHES = "POST /api/signals/batch"
const SINGLE = "POST /api/signals"
const LIST = "GET /api/signals"

describe("an error in the document equals the service's answer:", () => {
  it.each<[operation: string, status: number, example: string, sent: Omit<Sent, "path"> & { path?: string }]>(
    [
      [BATCHES, 400, "one failed", { body: { ...BAD_BATCH, fail_on_error: true } }],
      [BATCHES, 401, "no key", { body: BATCH, settings: KEYS }],
      [BATCHES, 401, "unknown key", { body: BATCH, settings: KEYS, headers: key("guess") }],
      [BATCHES, 403, "another scope", { body: BATCH, settings: KEYS, headers: key("read") }],
      [BATCHES, 413, "too many signals", { body: { signals: Array(10_001).fill({}) } }],
      [BATCHES, 413, "too large", { body: "x".repeat(8_388_609) }],
      [BATCHES, 413, "too many containers", { body: `[${"[],".repeat(MAX_CONTAINERS)}[]]` }],
      [BATCHES, 415, "content type", { body: "a,b", headers: { "Content-Type": "text/csv" } }],
      [BATCHES, 415, "encoding", { body: "packed", headers: { "Content-Encoding": "compress" } }],
      [BATCHES, 422, "shape", { body: { signals: [{ signal_score: "high" }] } }],
      [BATCHES, 422, "key reused", { body: BATCH, headers: KEY_REUSED }],
      [BATCHES, 429, "too many", { body: BATCH, settings: BUSY }],
      [SINGLE, 422, "rule", { body: { context_window_id: "conv-123", signal_score: 1.5 } }],
      [LIST, 403, "another scope", { settings: KEYS, headers: key("ingest") }],
      [LIST, 422, "limit", { path: "/api/signals?limit=0" }],
      [LIST, 503, "unreachable", { settings: AWAY }],
      ["GET /api/signals/stats", 422, "limit", { path: "/api/signals/stats?limit=0" }],
      ["GET /api/signals/{id}", 404, "unknown", { path: "/api/signals/0" }],
      ["GET /api/signals/{id}", 422, "id", { path: "/api/signals/newest" }],
      ["GET /api/batches", 422, "cursor", { path: "/api/batches?cursor=latest" }],
      ["GET /api/batches/{transaction_id}", 404, "unknown", { path: `/api/batches/${crypto.randomUUID()}` }],
      ["GET /api/batches/{transaction_id}", 422, "transaction_id", { path: "/api/batches/latest" }],
      ["POST /api/erasures", 422, "two subjects", { body: { user_id: "a", agent_id: "b" } }],
      ["GET /api/erasures", 422, "cursor", { path: "/api/erasures?cursor=latest" }],
      ["GET /api/erasures/{erasure_id}", 404, "unknown", { path: `/api/erasures/${crypto.randomUUID()}` }],
      ["GET /api/erasures/{erasure_id}", 422, "erasure_id", { path: "/api/erasures/latest" }],
      ["GET /api/metrics", 422, "window", { path: "/api/metrics?window=1y" }],
      ["GET /api/metrics", 503, "not configured", {}],
      ["GET /metrics", 503, "not configured", {}],
      ["GET /api/dead-letters", 422, "limit", { path: "/api/dead-letters?limit=0" }],
      ["POST /api/dead-letters/replay", 422, "limit", { path: "/api/dead-letters/replay?limit=501" }],
      ["GET /api/dead-letters/{id}", 404, "unknown", { path: "/api/dead-letters/0" }],
      ["GET /api/dead-letters/{id}", 422, "id", { path: "/api/dead-letters/oldest" }],
      ["POST /api/dead-letters/{id}/replay", 404, "unknown", { path: "/api/dead-letters/0/replay" }],
      ["POST /webhooks/kafka", 401, "unknown key", { body: {}, settings: KEYS, headers: key("guess") }],
      ["POST /webhooks/kafka", 415, "content type", { body: "a,b", headers: { "Content-Type": "text/csv" } }],
      ["POST /webhooks/kafka", 422, "gzip", { body: "not packed", headers: { "Content-Encoding": "gzip" } }],
      ["POST /webhooks/slack", 401, "unsigned", { body: {}, settings: SLACK }],
      ["POST /webhooks/slack", 401, "forged", { body: {}, settings: SLACK, headers: FORGED }],
    ],
  )("%s %i, %s", async (operation, status, example, sent) => {
    const [method = "", path = ""] = operation.split(" ")
    if (sent.headers === KEY_REUSED) await refused(method, { path, ...sent, body: BAD_BATCH })
    const response = await refused(method, { path, ...sent })
    expect(response.status).toBe(status)
    const described = responsesOf(operation).find(([code]) => Number(code) === status)?.[1]
    const value = bodiesOf(described)[0]?.examples.find(([name]) => name === example)?.[1]
    expect(await response.json()).toEqual(value)
    // Those that routes share are tested in headers.test.ts.
    for (const [header, { $ref }] of Object.entries(
      (described?.headers ?? {}) as Record<string, { $ref?: string }>,
    ))
      if ($ref === undefined && (header !== "Accept-Encoding" || example === "encoding"))
        expect(response.headers.has(header), header).toBe(true)
  })
})
