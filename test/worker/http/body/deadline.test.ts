import { createExecutionContext } from "cloudflare:test"
import { afterEach, expect, it, vi } from "vitest"
import { app } from "../../../../src/app.ts"
import { LEAST_BYTES_A_SECOND, LONGEST_PAUSE_MS } from "../../../../src/http/request/bounds.ts"
import { bindings } from "../../service.ts"

afterEach(() => {
  vi.useRealTimers()
})

const MIB = 1024 * 1024
const TOO_SLOW = {
  detail: "The body arrived at less than 32 KiB a second. Nothing was stored.",
  code: "body_timeout",
}

function send(body: ReadableStream<Uint8Array>, headers: Record<string, string>) {
  const request = new Request("http://signal-ingest.test/api/signals/batch", {
    method: "POST",
    body,
    headers,
  })
  return Promise.resolve(app.fetch(request, bindings, createExecutionContext()))
}

it.each([
  ["of a declared length of 1,000 bytes", { "Content-Length": "1000" }],
  ["of a declared length of 4 MiB", { "Content-Length": String(4 * MIB) }],
  ["in chunks, of which a few bytes have arrived", {}],
])("a body %s that stops is refused with 408", async (_, headers: Record<string, string>) => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] })
  const body = new ReadableStream({
    start: (controller) => controller.enqueue(new TextEncoder().encode('{"signals":')),
  })
  const answer = send(body, headers)
  let isAnswered = false
  void answer.then(() => {
    isAnswered = true
  })
  await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1))
  await vi.advanceTimersByTimeAsync(LONGEST_PAUSE_MS - 500)
  expect(isAnswered).toBe(false)
  await vi.advanceTimersByTimeAsync(1000)
  expect([(await answer).status, await (await answer).json()]).toEqual([408, TOO_SLOW])
})

/** Sends so many bytes each second until the answer comes, for at most 60 seconds. */
async function trickle(bytesASecond: number): Promise<{ seconds: number; answer: Promise<Response> }> {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] })
  const { readable, writable } = new TransformStream()
  const answer = send(readable, {})
  let isAnswered = false
  void answer.then(() => {
    isAnswered = true
  })
  const writer = writable.getWriter()
  writer.closed.catch(() => {})
  let seconds = 0
  for (; seconds < 60 && !isAnswered; seconds++) {
    await writer.write(new TextEncoder().encode(" ".repeat(bytesASecond))).catch(() => {})
    if (!isAnswered) await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1))
    await vi.advanceTimersByTimeAsync(1000)
  }
  await writer.close().catch(() => {})
  return { seconds, answer }
}

it("a body that always arrives too slowly is refused with 408, however often bytes arrive", async () => {
  const { seconds, answer } = await trickle(LEAST_BYTES_A_SECOND / 2)
  expect((await answer).status).toBe(408)
  expect(seconds).toBeGreaterThan(5)
  expect(seconds).toBeLessThan(30)
})

it("a body that arrives at the least rate may take as long as it needs", async () => {
  const { seconds, answer } = await trickle(LEAST_BYTES_A_SECOND)
  expect(seconds).toBe(60)
  expect((await answer).status).toBe(422)
})
