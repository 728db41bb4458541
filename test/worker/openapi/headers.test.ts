import { describe, expect, it, vi } from "vitest"
import { app } from "../../../src/app.ts"
import type { Bindings } from "../../../src/bindings.ts"
import { openApi } from "../../../src/openapi/document.ts"
import { ANSWER_HEADERS, PREFLIGHT, REQUEST_HEADERS } from "../../../src/openapi/headers.ts"
import { bindings } from "../service.ts"

interface Described {
  parameters?: { $ref?: string }[]
  responses: Record<string, { headers?: Record<string, { $ref?: string }> }>
}

const ORIGIN = "https://app.example.com"
const limiter = { limit: async () => ({ success: true }) } as unknown as RateLimit
const SETTINGS: Partial<Bindings> = {
  CORS_ORIGINS: ORIGIN,
  RATE_LIMIT: "2000",
  ADDRESS_RATE_LIMIT: "4000",
  RATE_LIMITER: limiter,
  ADDRESS_RATE_LIMITER: limiter,
}

/** Served by the assets, not by the Worker. */
const OPERATIONS = Object.entries(openApi().paths ?? {})
  .filter(([path]) => path !== "/openapi.json")
  .flatMap(([path, item]) =>
    Object.entries(item).map(([method, described]): [string, string, Described] => [
      method.toUpperCase(),
      path,
      described,
    ]),
  )

/** No row has the id 0, and no list takes the limit: nothing is changed. */
const ask = (method: string, path: string, headers: Record<string, string>) =>
  app.request(
    `${path.replaceAll(/\{\w+\}/g, "0")}?limit=x`,
    { method, headers },
    { ...bindings, ...SETTINGS },
  )

const names = (refs: readonly { $ref?: string }[] | undefined) =>
  refs?.flatMap(({ $ref }) => $ref?.split("/").at(-1) ?? []) ?? []

describe.each(OPERATIONS)("the description of %s %s", (method, path, described) => {
  it("has the shared headers that its answers have, and no other", async () => {
    // An open service refuses the requests of pages before it counts them, where CORS allows none.
    const origin: Record<string, string> = path.startsWith("/api/") ? { Origin: ORIGIN } : {}
    const response = await ask(method, path, { ...origin, "X-Request-Id": "mine" })
    const sent = Object.keys(ANSWER_HEADERS).filter((name) => response.headers.has(name))
    for (const [status, { headers = {} }] of Object.entries(described.responses)) {
      const shared = names(Object.values(headers))
      expect(shared, status).toEqual(expect.arrayContaining(sent))
      // A request that is refused before it asks the database has no timing.
      expect(shared.filter((name) => name !== "Server-Timing").sort(), status).toEqual(
        sent.filter((name) => name !== "Server-Timing").sort(),
      )
    }
  })

  it("has the shared headers that its requests can carry", async () => {
    expect(names(described.parameters)).toEqual(Object.keys(REQUEST_HEADERS))
    const lines: string[] = []
    const log = vi.spyOn(console, "log").mockImplementation((line) => void lines.push(String(line)))
    await ask(method, path, {
      traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      "X-Request-Id": "mine",
    })
    log.mockRestore()
    const line = lines.join()
    expect(line).toContain('"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"')
    expect(line).toContain('"client_request_id":"mine"')
  })
})

describe("the description of a preflight", () => {
  it("equals the answer of the service", async () => {
    const response = await ask("OPTIONS", "/api/signals/batch", {
      Origin: ORIGIN,
      "Access-Control-Request-Method": "POST",
    })
    expect(response.status).toBe(204)
    for (const [name, header] of Object.entries<{ example?: string; $ref?: string }>(PREFLIGHT.headers))
      expect(response.headers.get(name), name).toBe(header.example ?? ORIGIN)
  })
})

describe("the list of shared headers", () => {
  it("lists each component once", () => {
    const { headers = {}, parameters = {} } = openApi().components ?? {}
    expect(Object.keys(headers)).toEqual(Object.keys(ANSWER_HEADERS))
    expect(Object.keys(parameters)).toEqual(Object.keys(REQUEST_HEADERS))
  })

  it.each(["/api/signals", "/api/signals/stats"])(
    "has the timing of a request that asks the database: %s",
    async (path) => {
      const response = await app.request(path, {}, bindings)
      expect(response.headers.get("Server-Timing")).toMatch(/^db;dur=\d/)
    },
  )
})
