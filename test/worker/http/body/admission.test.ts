import { createExecutionContext } from "cloudflare:test"
import { afterEach, expect, it, vi } from "vitest"
import { app } from "../../../../src/app.ts"
import { BODY_DEADLINE_MS, MAX_WAIT_MS } from "../../../../src/http/body/admission.ts"
import { LONGEST_RETURN_SECONDS, SHORTEST_RETURN_SECONDS } from "../../../../src/isolate/retry-pacing.ts"
import { bindings } from "../../service.ts"

afterEach(() => {
  vi.useRealTimers()
})

const MIB = 1024 * 1024

const secondsOf = (response: Response | undefined) => Number(response?.headers.get("Retry-After"))
const isReturnTime = (seconds: number) =>
  seconds >= SHORTEST_RETURN_SECONDS && seconds <= LONGEST_RETURN_SECONDS

/** A request whose body is declared, and never arrives. */
const sendNothing = async (bytes = 8 * MIB) => {
  const headers = { "Content-Length": String(bytes) }
  const request = new Request("http://signal-ingest.test/api/signals/batch", {
    method: "POST",
    body: new ReadableStream(),
    headers,
  })
  return app.fetch(request, bindings, createExecutionContext())
}

it("a body for which there is no room is refused after 5 seconds, and told when to come again", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] })
  const first = sendNothing()
  await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1))
  let refused: Response | undefined
  const second = sendNothing().then((response) => {
    refused = response
  })
  const sentAt = Date.now()
  while (!refused && Date.now() < sentAt + 2 * MAX_WAIT_MS) await vi.advanceTimersByTimeAsync(100)
  await second
  expect(Date.now() - sentAt).toBeGreaterThanOrEqual(MAX_WAIT_MS)
  expect([refused?.status, secondsOf(refused), await refused?.json()]).toEqual([
    503,
    expect.toSatisfy(isReturnTime),
    { detail: "Too many requests at once. Nothing was stored. Send it again.", code: "overloaded" },
  ])
  await vi.advanceTimersByTimeAsync(BODY_DEADLINE_MS)
  expect((await first).status).toBe(408)
})

it("a 17th large body is refused after about a second while 16 are read, and a small one is not", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] })
  const held = Array.from({ length: 16 }, () => sendNothing(400 * 1024))
  await vi.waitFor(() => expect(vi.getTimerCount()).toBe(16))
  let refused: Response | undefined
  const next = sendNothing(400 * 1024).then((response) => {
    refused = response
  })
  const sentAt = Date.now()
  while (!refused && Date.now() < sentAt + MAX_WAIT_MS) await vi.advanceTimersByTimeAsync(50)
  await next
  expect(Date.now() - sentAt).toBeLessThan(1500)
  expect([refused?.status, secondsOf(refused)]).toEqual([503, expect.toSatisfy(isReturnTime)])
  const small = sendNothing(1024)
  await vi.advanceTimersByTimeAsync(BODY_DEADLINE_MS)
  expect(new Set((await Promise.all([...held, small])).map(({ status }) => status))).toEqual(new Set([408]))
})
