import { expect, it } from "vitest"
import { freshConversation, postBatch, postJson, send } from "../../service.ts"

const BOTH = /^db;dur=\d+\.\d, validation;dur=\d+\.\d$/

it("a write says how long the database and the validation took, in milliseconds with one decimal", async () => {
  const signal = { context_window_id: freshConversation() }
  expect((await postBatch({ signals: [signal] })).headers.get("Server-Timing")).toMatch(BOTH)
  expect((await postJson("/api/signals", signal)).headers.get("Server-Timing")).toMatch(BOTH)
})

it("a read says how long the database took", async () =>
  expect((await send("/api/batches?limit=1")).headers.get("Server-Timing")).toMatch(/^db;dur=\d+\.\d$/))

it("a refused batch says how long the validation took, since the database was not asked", async () => {
  const { status, headers } = await postBatch({ signals: [{}] })
  expect([status, headers.get("Server-Timing")]).toEqual([
    422,
    expect.stringMatching(/^validation;dur=\d+\.\d$/),
  ])
})

it("an answer that needed neither has no Server-Timing", async () =>
  expect((await send("/healthz")).headers.has("Server-Timing")).toBe(false))
