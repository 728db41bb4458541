import { createExecutionContext } from "cloudflare:test"
import { afterEach, expect, it, vi } from "vitest"
import { app } from "../../../../src/app.ts"
import { BODY_DEADLINE_MS } from "../../../../src/http/body/admission.ts"
import { bindings } from "../../service.ts"

afterEach(() => {
  vi.useRealTimers()
})

it.each([
  ["of a declared length", { "Content-Length": "1000" }],
  ["in chunks", {}],
])("a body %s that does not arrive in time is refused with 408", async (_, headers: Record<string, string>) => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] })
  const body = new ReadableStream({ start: (controller) => controller.enqueue(new TextEncoder().encode('{"signals":')) })
  const request = new Request("http://signal-ingest.test/api/signals/batch", { method: "POST", body, headers })
  const answer = app.fetch(request, bindings, createExecutionContext())
  await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1))
  await vi.advanceTimersByTimeAsync(BODY_DEADLINE_MS)
  const response = await answer
  expect(response.status).toBe(408)
  expect(await response.json()).toEqual({
    detail: "The body took longer than 30 seconds to arrive. Nothing was stored.",
    code: "body_timeout",
  })
})
