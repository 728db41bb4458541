import { once } from "node:events"
import { request } from "node:http"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type LocalAnalytics, startAnalytics } from "../../../src/local/analytics/server.ts"
import { type NeonEndpoint, startNeonEndpoint } from "../../../src/local/neon/endpoint.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"

let postgres: LocalPostgres
let other: LocalPostgres
let endpoint: NeonEndpoint
let analytics: LocalAnalytics

beforeAll(async () => {
  postgres = await startTemporaryPostgres()
  other = await startTemporaryPostgres()
  endpoint = await startNeonEndpoint({ only: postgres.url })
  analytics = await startAnalytics({ databaseUrl: postgres.url, token: "token" })
})
afterAll(async () => {
  await endpoint?.stop()
  await analytics?.stop()
  await other?.stop()
  await postgres?.stop()
})

/** By Node's own client, which, unlike fetch, sends any `Host`. */
async function ask(url: string, headers: Record<string, string>, body: string, method = "POST") {
  const sent = request(url, { method, headers })
  sent.end(body)
  const [response] = await once(sent, "response")
  let text = ""
  for await (const part of response) text += part
  return { status: response.statusCode as number, headers: response.headers as Record<string, string>, text }
}

const runSql = (headers: Record<string, string> = {}, url = postgres.url) =>
  ask(endpoint.url, { "Neon-Connection-String": url, ...headers }, '{"query": "select 1 as a"}')

const readMetrics = (headers: Record<string, string> = {}) =>
  ask(
    `${analytics.url}/accounts/local/analytics_engine/sql`,
    { Authorization: "Bearer token", ...headers },
    "SELECT count() AS n FROM signal_ingest_requests",
  )

const port = (url: string) => new URL(url).port

describe.each([
  ["the SQL endpoint", runSql, () => endpoint.url],
  ["the local Analytics Engine", readMetrics, () => analytics.url],
] as const)("%s", (_, send, url) => {
  it("answers a local program, without CORS headers", async () => {
    for (const name of ["127.0.0.1", "localhost", "[::1]"]) {
      const { status, headers } = await send({ Host: `${name}:${port(url())}` })
      expect(status, name).toBe(200)
      expect(Object.keys(headers).filter((header) => header.startsWith("access-control-"))).toEqual([])
    }
  })

  it.each([
    ["a page of another site", { Origin: "https://evil.example" }],
    ["a page of a file", { Origin: "null" }],
    ["a page whose browser names the site alone", { "Sec-Fetch-Site": "cross-site" }],
    ["a name that points at this machine", { Host: "evil.example" }],
    ["such a name with the right port", (port: string) => ({ Host: `evil.example:${port}` })],
    ["the right name with another port", { Host: "localhost:1" }],
  ])("refuses %s and says nothing", async (_, headers) => {
    const answer = await send(typeof headers === "function" ? headers(port(url())) : headers)
    expect([answer.status, answer.text]).toEqual([403, ""])
  })

  it("answers no preflight", async () => {
    const headers = { Origin: "https://evil.example", "Access-Control-Request-Method": "POST" }
    const answer = await ask(url(), headers, "", "OPTIONS")
    expect(answer.status).toBe(403)
    expect(answer.headers).not.toHaveProperty("access-control-allow-origin")
  })
})

describe("the SQL endpoint of one database", () => {
  const changed = (
    parts: { [part in "username" | "password" | "hostname" | "port" | "pathname" | "search"]?: string },
  ) => Object.assign(new URL(postgres.url), parts).href

  it("runs statements, and lets Postgres check the password", async () => {
    expect((await runSql()).status).toBe(200)
    expect((await runSql({}, changed({ search: "?application_name=driver" }))).status).toBe(200)
    const wrong = await runSql({}, changed({ password: "wrong" }))
    expect([wrong.status, JSON.parse(wrong.text).message]).toEqual([
      400,
      "password authentication failed for user 'postgres'",
    ])
  })

  it.each([
    ["another server", () => other.url],
    ["another port", () => changed({ port: "1" })],
    ["another database", () => changed({ pathname: "/template1" })],
    ["another user", () => changed({ username: "somebody" })],
    ["another host", () => changed({ hostname: "db.example" })],
    ["another server in a parameter", () => changed({ search: `?host=localhost&port=${port(other.url)}` })],
  ])("refuses %s", async (_, url) => {
    const answer = await runSql({}, url())
    expect([answer.status, JSON.parse(answer.text).message]).toEqual([
      403,
      "This endpoint serves only the database of npm start.",
    ])
  })
})
