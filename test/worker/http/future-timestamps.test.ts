import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test"
import { expect, it } from "vitest"
import { app } from "../../../src/app.ts"
import { consume } from "../consumer/messages.ts"
import { bindings, countOf, freshConversation, postBatch, postJson, query } from "../service.ts"
import { ASYNC, postTo, recordOf } from "./routes/queued.ts"

const HOUR_SECONDS = 3600
const inHours = (hours: number) => new Date(Date.now() + hours * HOUR_SECONDS * 1000).toISOString()
const tooEarly = (seconds = 86_400) =>
  `timestamp must be at most ${seconds} seconds ahead of the service's clock`

it("a signal of more than a day ahead fails alone in a batch, and the batch with fail_on_error", async () => {
  const context_window_id = freshConversation()
  const signals = [23, 25].map((hours) => ({ context_window_id, timestamp: inHours(hours) }))
  expect(await (await postBatch({ signals })).json()).toMatchObject({
    successful_count: 1,
    results: [{ success: true }, { success: false, error: tooEarly() }],
  })
  const refused = await postBatch({ signals, fail_on_error: true })
  expect([refused.status, await refused.json()]).toMatchObject([
    400,
    { errors: [{ index: 1, error: tooEarly() }] },
  ])
  expect(await countOf(context_window_id)).toBe(1)
})

it("a single signal of more than a day ahead is 422 with the field", async () => {
  const response = await postJson("/api/signals", {
    context_window_id: freshConversation(),
    timestamp: inHours(25),
  })
  expect([response.status, await response.json()]).toMatchObject([
    422,
    { detail: [{ loc: ["body", "timestamp"], msg: tooEarly() }] },
  ])
})

it("MAX_FUTURE_SECONDS is the limit of a deployment", async () => {
  const context_window_id = freshConversation()
  const signals = [0.5, 2].map((hours) => ({ context_window_id, timestamp: inHours(hours) }))
  const { answer } = await postTo({ signals }, {}, { MAX_FUTURE_SECONDS: String(HOUR_SECONDS) })
  expect(answer).toMatchObject({ successful_count: 1, results: [{}, { error: tooEarly(HOUR_SECONDS) }] })
})

it.each([
  ["a day", { MAX_FUTURE_SECONDS: "86400" }, 1],
  ["a week", { MAX_FUTURE_SECONDS: String(7 * 86_400) }, 2],
])(
  "a queued batch is judged by %s, the limit when it was accepted, whatever holds when it is stored",
  async (_, limit, stored) => {
    const context_window_id = freshConversation()
    const signals = [23, 47].map((hours) => ({ context_window_id, timestamp: inHours(hours) }))
    const { answer, sent } = await postTo({ signals }, ASYNC, limit)
    await consume(sent, { bindings: { MAX_FUTURE_SECONDS: stored === 1 ? String(7 * 86_400) : "60" } })
    expect(await recordOf(answer.transaction_id)).toMatchObject({ state: "stored", successful_count: stored })
    expect(await countOf(context_window_id)).toBe(stored)
  },
)

it("a webhook's record of more than a day ahead becomes a dead letter", async () => {
  const context_window_id = freshConversation()
  const context = createExecutionContext()
  const records = [{ value: { context_window_id, timestamp: inHours(25) } }, { value: { context_window_id } }]
  const init = {
    method: "POST",
    body: JSON.stringify({ records }),
    headers: { "Content-Type": "application/json" },
  }
  const response = await app.request(
    "/webhooks/kafka",
    init,
    { ...bindings, QUEUE: undefined } as never,
    context,
  )
  await waitOnExecutionContext(context)
  const answer = (await response.json()) as { transaction_id: string }
  expect(answer).toMatchObject({
    state: "stored",
    accepted_count: 1,
    failures: [{ index: 0, error: tooEarly() }],
  })
  expect(
    await query("select reason from dead_letters where transaction_id = $1", [answer.transaction_id]),
  ).toEqual([{ reason: tooEarly() }])
  expect(await countOf(context_window_id)).toBe(1)
})
