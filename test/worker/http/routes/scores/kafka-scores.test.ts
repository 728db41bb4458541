import { createExecutionContext, waitOnExecutionContext } from "cloudflare:test"
import { describe, expect, it } from "vitest"
import { app } from "../../../../../src/app.ts"
import type { Bindings } from "../../../../../src/bindings.ts"
import type { BatchAnswer, DeliveryAnswer, SignalWithScores } from "../../../../../src/signals/responses.ts"
import { consume } from "../../../consumer/messages.ts"
import {
  bindings,
  countOf,
  freshConversation,
  postBatch,
  query,
  send,
  TOO_LONG_FOR_POSTGRES,
} from "../../../service.ts"
import { recordOf } from "../queued.ts"

const UNKNOWN = 9_007_199_254_740_991

/** Sends as a sink does, to a service whose queue only takes, or to one without a queue. */
async function post(body: unknown, { hasQueue = true, changed = {} as Partial<Bindings> } = {}) {
  const queued: string[] = []
  const QUEUE = hasQueue
    ? ({ send: async (text: string) => void queued.push(text) } as unknown as Queue)
    : undefined
  const context = createExecutionContext()
  const init = {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: { "Content-Type": "application/json" },
  }
  const environment = { ...bindings, QUEUE, ...changed } as Bindings
  const response = await app.request("/webhooks/kafka", init, environment, context)
  await waitOnExecutionContext(context)
  return { status: response.status, answer: (await response.json()) as DeliveryAnswer, queued }
}

async function store(signal: object = {}): Promise<number> {
  const response = await postBatch({ signals: [{ context_window_id: freshConversation(), ...signal }] })
  const { results } = (await response.json()) as BatchAnswer
  return results[0]?.signal_id ?? 0
}

const read = async (id: number) => (await (await send(`/api/signals/${id}`)).json()) as SignalWithScores
const scoresOf = async (id: number) =>
  (await read(id)).scores.map(({ signal_score, scored_at, scorer }) => [signal_score, scored_at, scorer])

const deadLettersOf = (transactionId: string | undefined) =>
  query<{ id: string; index: number; source: string; code: string }>(
    "select id, index, source, code from dead_letters where transaction_id = $1 order by index",
    [transactionId],
  )

describe("a Kafka record that is a score", () => {
  it.each([true, false])("is stored in the batch of scores of its call (queue: %s)", async (hasQueue) => {
    const id = await store()
    const { status, answer, queued } = await post(
      {
        records: [
          {
            key: "conv",
            value: { signal_id: id, signal_score: 0.9, scorer: "j" },
            timestamp: 1_767_323_045_000,
          },
        ],
      },
      { hasQueue },
    )
    expect([status, answer]).toEqual([
      200,
      {
        state: hasQueue ? "queued" : "stored",
        total_count: 1,
        accepted_count: 1,
        failed_count: 0,
        failures: [],
        skipped: {},
        ...(!hasQueue && { duplicate_count: 0 }),
        transaction_id: expect.any(String),
      },
    ])
    await consume(queued)
    await consume(queued)
    expect(await scoresOf(id)).toEqual([[0.9, "2026-01-02T03:04:05.000000Z", "j"]])
    expect(await recordOf(answer.transaction_id ?? "")).toMatchObject({ kind: "scores", successful_count: 1 })
  })

  it.each([true, false])(
    "comes beside signals, in one statement: its own signal may be among them (queue: %s)",
    async (hasQueue) => {
      const conversation = freshConversation()
      const dedupe_key = `key ${crypto.randomUUID()}`
      const { answer, queued } = await post(
        [
          { dedupe_key, signal_score: 0.9 },
          { context_window_id: conversation, dedupe_key },
          { signal_id: UNKNOWN, escalate_flag: 1 },
          { dedupe_key, signal_score: 7 },
          { context_window_id: conversation, signal_score: 7 },
        ],
        { hasQueue },
      )
      await consume(queued)
      await consume(queued)
      expect(answer).toMatchObject({ total_count: 5, failed_count: hasQueue ? 2 : 3 })
      const [{ id, signal_score } = { id: "", signal_score: 0 }] = await query<{
        id: string
        signal_score: number
      }>("select id, signal_score from signals where context_window_id = $1", [conversation])
      expect(signal_score).toBe(0.9)
      expect(await scoresOf(Number(id))).toHaveLength(1)
      expect(await recordOf(answer.transaction_id ?? "")).toMatchObject({
        total_count: 3,
        successful_count: 1,
      })
      expect(await recordOf(answer.scores_transaction_id ?? "")).toMatchObject({
        kind: "scores",
        total_count: 2,
        failures: [{ index: 2, code: "unknown_signal" }],
      })
      expect(await deadLettersOf(answer.transaction_id)).toMatchObject([
        { index: 3, source: "kafka", code: "out_of_range" },
        { index: 4, source: "kafka", code: "out_of_range" },
      ])
      expect(await deadLettersOf(answer.scores_transaction_id)).toMatchObject([
        { index: 2, source: "score", code: "unknown_signal" },
      ])
    },
  )

  it.each([true, false])(
    "is stored beside a signal that only the database refuses (queue: %s)",
    async (hasQueue) => {
      const conversation = freshConversation()
      const id = await store()
      const text = `[{"context_window_id": "${conversation}", "payload": {"n": ${TOO_LONG_FOR_POSTGRES}}},
      {"signal_id": ${id}, "signal_score": 0.3}, {"signal_id": ${UNKNOWN}, "signal_score": 0.3},
      {"context_window_id": "${conversation}"}]`
      const { answer, queued } = await post(text, { hasQueue })
      await consume(queued)
      expect(await countOf(conversation)).toBe(1)
      expect(await scoresOf(id)).toHaveLength(1)
      expect(await deadLettersOf(answer.transaction_id)).toMatchObject([
        { index: 0, code: "refused_by_database" },
      ])
      expect(await deadLettersOf(answer.scores_transaction_id)).toMatchObject([{ index: 2 }])
      if (!hasQueue) expect(answer.failures.map(({ index }) => index)).toEqual([0, 2])
    },
  )

  it("is stored beside a signal of a suppressed subject, of which nothing is kept", async () => {
    const user_id = `user ${crypto.randomUUID()}`
    await send("/api/erasures", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ user_id, suppress: true }),
    })
    const id = await store()
    const conversation = freshConversation()
    const { answer } = await post(
      [
        { context_window_id: conversation, user_id },
        { signal_id: id, signal_score: 0.3 },
      ],
      { hasQueue: false },
    )
    expect(answer).toMatchObject({ total_count: 1, accepted_count: 1, skipped: { suppressed: 1 } })
    expect(await countOf(conversation)).toBe(0)
    expect(await scoresOf(id)).toHaveLength(1)
  })

  it("names its signal by a reserved dedupe_key, and never takes it", async () => {
    const conversation = freshConversation()
    const topic = `chat-${crypto.randomUUID()}`
    const dedupe_key = `kafka:${topic}/0/41`
    await post([{ dedupe_key, signal_score: 0.8 }], { hasQueue: false })
    expect(await query("select from dedupe_keys where key_hash = dedupe_key_hash($1)", [dedupe_key])).toEqual(
      [],
    )
    const record = { topic, partition: 0, offset: 41, key: conversation, value: { text: "Hello" } }
    await post({ records: [record] }, { hasQueue: false })
    expect(await countOf(conversation)).toBe(1)
    const planted = await post([{ context_window_id: conversation, dedupe_key: "kafka:other/0/1" }], {
      hasQueue: false,
    })
    expect(planted.answer.failures).toMatchObject([{ code: "reserved_dedupe_key" }])
  })

  it('is read from {"scores": [...]}, as signals are from theirs', async () => {
    const id = await store()
    await post({ scores: [{ signal_id: id, signal_score: 0.2 }] }, { hasQueue: false })
    expect((await read(id)).signal_score).toBe(0.2)
  })

  it.each([
    ["a signal", { context_window_id: "conv", signal_score: 0.5, dedupe_key: "k" }],
    ["a value with a field that a score has not", { dedupe_key: "k", signal_score: 0.5, text: "Hi" }],
    ["a value without a value of a score", { dedupe_key: "k", scorer: "j" }],
    ["a value that names no signal", { signal_score: 0.5 }],
  ])("is not %s", async (_, value) => {
    const { answer } = await post({ records: [{ key: freshConversation(), value }] })
    expect(await recordOf(answer.transaction_id ?? "")).not.toMatchObject({ kind: "scores" })
    expect(answer.scores_transaction_id).toBeUndefined()
  })

  it("becomes a dead letter when its shape is wrong, and a replay reads it as a score again", async () => {
    const id = await store()
    const scored_at = new Date(Date.now() + 60 * 60 * 1000).toISOString()
    const { answer } = await post([{ signal_id: id, signal_score: 0.5, scored_at }], {
      hasQueue: false,
      changed: { MAX_FUTURE_SECONDS: "60" },
    })
    expect(answer.failures).toMatchObject([{ index: 0, field: "scored_at" }])
    const [letter] = await deadLettersOf(answer.transaction_id)
    const replayed = await send(`/api/dead-letters/${letter?.id}/replay`, { method: "POST" })
    const bulk = await send(`/api/dead-letters/replay?ids=${letter?.id}`, { method: "POST" })
    expect([await replayed.json(), await bulk.json()]).toMatchObject([
      { replayed: true },
      { replayed_count: 1 },
    ])
    expect(await scoresOf(id)).toHaveLength(1)
  })
})
