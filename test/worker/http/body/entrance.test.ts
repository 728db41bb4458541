import { createExecutionContext } from "cloudflare:test"
import { afterEach, expect, it, vi } from "vitest"
import { entrance } from "../../../../src/http/body/entrance.ts"
import service from "../../../../src/index.ts"
import { LONGEST_RETURN_SECONDS, SHORTEST_RETURN_SECONDS } from "../../../../src/isolate/retry-pacing.ts"
import { bindings } from "../../service.ts"

afterEach(() => {
  vi.restoreAllMocks()
})

const ORIGIN = "https://app.example.com"
const MIB = 1024 * 1024

const send = (path: string, init?: RequestInit, more: object = {}) =>
  Promise.resolve(
    service.fetch(
      new Request(`http://signal-ingest.test${path}`, init) as Request<unknown, IncomingRequestCfProperties>,
      { ...bindings, ...more },
      createExecutionContext(),
    ),
  )

/** Bodies that have arrived but for their end, in the room that they have; the others wait in line. */
const crowd = () =>
  Array.from({ length: 160 }, () =>
    send("/api/signals/batch", {
      method: "POST",
      headers: { "Content-Length": String(8 * MIB) },
      body: new ReadableStream({ start: (controller) => controller.enqueue(new Uint8Array(MIB)) }),
    }),
  )

it("more requests than can wait are refused before their key, body and log line", async () => {
  const log = vi.spyOn(console, "log").mockImplementation(() => {})
  const held = crowd()
  const refused = () =>
    send(
      "/api/signals/batch",
      { method: "POST", headers: { Origin: ORIGIN, Authorization: "Bearer no-key" }, body: "{" },
      { OPEN_ACCESS: "false", CORS_ORIGINS: ORIGIN },
    )
  let answer = await refused()
  await vi.waitFor(async () => {
    answer = await refused()
    expect(answer.status).toBe(503)
  })
  log.mockClear()
  const answers = await Promise.all(Array.from({ length: 20 }, refused))
  expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(503))
  expect(await answer.json()).toEqual({
    detail: "Too many requests at once. Nothing was stored. Send it again.",
    code: "overloaded",
  })
  const seconds = Number(answer.headers.get("Retry-After"))
  expect(seconds).toBeGreaterThanOrEqual(SHORTEST_RETURN_SECONDS)
  expect(seconds).toBeLessThanOrEqual(LONGEST_RETURN_SECONDS)
  expect(answer.headers.get("X-Request-Id")).toMatch(/^[0-9a-f-]{36}$/)
  expect(answer.headers.get("Access-Control-Allow-Origin")).toBe(ORIGIN)
  // The other ways in are open, and so are reads.
  expect((await send("/healthz")).status).toBe(200)
  expect((await send("/api/signals?limit=1")).status).toBe(200)
  await vi.waitFor(
    () => {
      const lines = log.mock.calls.map(([line]) => JSON.parse(String(line)))
      const refusals = lines.filter(({ event }) => event === "refusals")
      expect(refusals[0]).toMatchObject({ code: "overloaded", status: 503 })
      expect(refusals[0].count).toBeGreaterThanOrEqual(20)
      expect(lines.filter(({ event, status }) => event === "request" && status === 401)).toEqual([])
    },
    { timeout: 20_000 },
  )
  await Promise.all(held)
  // When the crowd has gone, all is as before.
  expect((await refused()).status).toBe(401)
})

/** Computes for seconds, so that the timers of the event loop are late. */
function compute(): number {
  let sum = 0
  for (let number = 0; number < 1e9; number++) sum = (sum * 31 + number) | 0
  return sum
}

it("while the event loop is late, requests wait at the entrance, and each is answered later", async () => {
  const log = vi.spyOn(console, "log").mockImplementation(() => {})
  const ask = () => send("/api/signals?limit=1", {}, { OPEN_ACCESS: "false" })
  // The entrance looks at the event loop from now on.
  expect((await ask()).status).toBe(401)
  expect(compute()).toBeTypeOf("number")
  await new Promise((resolve) => setTimeout(resolve, 200))
  log.mockClear()
  const statuses = (await Promise.all(Array.from({ length: 100 }, ask))).map(({ status }) => status)
  expect(statuses).toEqual(Array(100).fill(401))
  expect(log.mock.calls.filter(([line]) => JSON.parse(String(line)).event === "request").length).toBe(100)
})

it("the time of a wait at the entrance is in the log line of its request", async () => {
  const log = vi.spyOn(console, "log").mockImplementation(() => {})
  const inside = Array.from({ length: 512 }, () => entrance.enterAtOnce())
  const ask = () => send("/api/signals?limit=1", {}, { OPEN_ACCESS: "false" })
  const waiting = Array.from({ length: 20 }, ask)
  await new Promise((resolve) => setTimeout(resolve, 100))
  for (const request of inside) if (request) entrance.leave(request)
  const statuses = (await Promise.all(waiting)).map(({ status }) => status)
  expect(statuses).toEqual(Array(20).fill(401))
  const lines = log.mock.calls.map(([line]) => JSON.parse(String(line)))
  const times = lines.filter(({ event }) => event === "request").map(({ ms }) => ms)
  expect(times.length).toBe(20)
  expect(Math.min(...times)).toBeGreaterThanOrEqual(90)
})
