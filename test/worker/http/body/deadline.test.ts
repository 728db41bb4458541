import { createExecutionContext } from "cloudflare:test"
import { afterEach, expect, it, vi } from "vitest"
import { app } from "../../../../src/app.ts"
import { bodyDeadlineMs } from "../../../../src/http/body/admission.ts"
import { bindings } from "../../service.ts"

afterEach(() => {
  vi.useRealTimers()
})

const MIB = 1024 * 1024

it.each([
  ["of a declared length of 1,000 bytes", { "Content-Length": "1000" }, 8],
  ["of a declared length of 4 MiB", { "Content-Length": String(4 * MIB) }, 17],
  ["of a declared length of 8 MiB", { "Content-Length": String(8 * MIB) }, 29],
  ["in chunks, of which a few bytes have arrived", {}, 8],
])(
  "a body %s that does not arrive in time is refused with 408",
  async (_, headers: Record<string, string>, seconds) => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] })
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(new TextEncoder().encode('{"signals":')),
    })
    const request = new Request("http://signal-ingest.test/api/signals/batch", {
      method: "POST",
      body,
      headers,
    })
    let response: Response | undefined
    const endsAt = Date.now() + seconds * 1000
    const answer = app.fetch(request, bindings, createExecutionContext())
    Promise.resolve(answer).then((refused) => {
      response = refused
    })
    await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1))
    await vi.advanceTimersByTimeAsync(endsAt - 500 - Date.now())
    expect(response).toBe(undefined)
    await vi.advanceTimersByTimeAsync(1000)
    expect((await answer).status).toBe(408)
    expect(await response?.json()).toEqual({
      detail: `The body took longer than ${seconds} seconds to arrive. Nothing was stored.`,
      code: "body_timeout",
    })
  },
)

it("a body in chunks has three seconds more for each MiB that has arrived", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] })
  const { readable, writable } = new TransformStream()
  const request = new Request("http://signal-ingest.test/api/signals/batch", {
    method: "POST",
    body: readable,
  })
  const answer = app.fetch(request, bindings, createExecutionContext())
  const writer = writable.getWriter()
  for (let second = 1; second <= 9; second++) {
    await writer.write(new Uint8Array(0.25 * MIB))
    await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1))
    await vi.advanceTimersByTimeAsync(1000)
  }
  await vi.advanceTimersByTimeAsync(bodyDeadlineMs(2.25 * MIB) - 9000)
  expect(await (await answer).json()).toMatchObject({
    detail: expect.stringContaining("longer than 14 seconds"),
  })
})
