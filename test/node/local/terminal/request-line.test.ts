import { stripVTControlCharacters } from "node:util"
import { beforeEach, describe, expect, it } from "vitest"
import { RequestLines } from "../../../../src/local/terminal/request-line.ts"

let lines: RequestLines

beforeEach(() => {
  lines = new RequestLines()
})

const show = (entry: object, now = 0) => {
  const line = lines.show(JSON.stringify(entry), now)
  return line === undefined ? undefined : stripVTControlCharacters(line).replace(/^\S+ {2}/, "")
}

const read = { event: "request", method: "GET", route: "/api/signals", status: 200, ms: 3 }

describe("a line at the terminal", () => {
  it("is short for a request", () =>
    expect(
      show({
        ...read,
        method: "POST",
        route: "/api/signals/batch",
        status: 207,
        total: 2,
        stored: 1,
        failed: 1,
      }),
    ).toBe("207  POST /api/signals/batch           2 signals, 1 stored, 1 failed  3 ms"))

  it("appears once a minute for a repeated read", () => {
    expect(show(read)).toContain("GET /api/signals")
    expect(show(read, 59_999)).toBeUndefined()
    expect(show(read, 60_000)).toContain("GET /api/signals")
  })

  it.each(["/readyz", "/healthz"])("does not appear for the probe %s", (route) => {
    expect(show({ ...read, route })).toBeUndefined()
    expect(show({ ...read, route, status: 503 })).toBeUndefined()
  })

  it.each(["scheduled", "bucket_swept", "expired_keys_released"])(
    "appears for the sweep's %s when it did something or failed",
    (event) => {
      expect(show({ event, ms: 5, count: 0 })).toBeUndefined()
      expect(show({ event, ms: 5 })).toBeUndefined()
      expect(show({ event, ms: 5, count: 2 })).toBe(`···  ${`sweep ${event}`.padEnd(32)}  2  5 ms`)
      expect(show({ event, ms: 5, error: "lost" })).toBe(`···  ${`sweep ${event}`.padEnd(32)}  lost  5 ms`)
    },
  )

  it("is the Worker's own line for everything else", () => {
    for (const line of ["words", "{broken", '{"event":"other"}']) expect(lines.show(line, 0)).toBe(line)
  })
})
