import { describe, expect, it } from "vitest"
import type { Bindings } from "../../../../../src/bindings.ts"
import type { DataPoint } from "../../../../../src/metrics/points.ts"
import { batchObject } from "../../../../../src/queue/claim-checks.ts"
import { messageText } from "../../../../../src/queue/messages.ts"
import type { BatchAnswer, SignalWithScores } from "../../../../../src/signals/responses.ts"
import { consume, DEAD_LETTERS } from "../../../consumer/messages.ts"
import { bindings, freshConversation, postBatch, postJson, query, send } from "../../../service.ts"
import { ASYNC, postTo, recordOf } from "../queued.ts"

const bucket = bindings.BUCKET as R2Bucket

/** Stores signals, and returns their ids. */
async function store(...signals: object[]): Promise<number[]> {
  const context_window_id = freshConversation()
  const sent = signals.map((signal) => ({ context_window_id, ...signal }))
  const { results } = (await (await postBatch({ signals: sent })).json()) as BatchAnswer
  return results.map(({ signal_id }) => signal_id ?? 0)
}

const postScores = (body: unknown, headers: Record<string, string> = {}, changed: Partial<Bindings> = {}) =>
  postTo(body, headers, changed, "/api/scores")
const queueScores = (body: unknown, headers: Record<string, string> = {}, changed: Partial<Bindings> = {}) =>
  postScores(body, { ...ASYNC, ...headers }, changed)

const scoresOf = async (id: number) =>
  ((await (await send(`/api/signals/${id}`)).json()) as SignalWithScores).scores.map(
    ({ signal_score }) => signal_score,
  )

const deadLettersOf = (transactionId: string) =>
  query<{ id: string; index: number; source: string; code: string; record: string }>(
    "select id, index, source, code, record from dead_letters where transaction_id = $1 order by index",
    [transactionId],
  )

/** No stored signal has it. */
const UNKNOWN = 9_007_199_254_740_991

describe("scores with Prefer: respond-async", () => {
  it("are answered 202, wait as a claim check, and are stored once", async () => {
    const [id = 0] = await store({})
    const { response, answer, sent } = await queueScores({
      scores: [
        { signal_id: id, signal_score: 0.9 },
        { signal_id: id, signal_score: 2 },
      ],
    })
    expect(response.status).toBe(202)
    expect(response.headers.get("Preference-Applied")).toBe("respond-async")
    const { transaction_id } = answer
    expect(response.headers.get("Location")).toBe(`/api/batches/${transaction_id}`)
    const queued = { kind: "scores", state: "queued", total_count: 2, failed_count: 1, waiting_count: 0 }
    expect(answer).toMatchObject(queued)
    expect(await recordOf(transaction_id)).toMatchObject(queued)
    expect(await scoresOf(id)).toEqual([])
    await consume(sent)
    await consume(sent)
    expect(await scoresOf(id)).toEqual([0.9])
    expect(await recordOf(transaction_id)).toMatchObject({
      kind: "scores",
      state: "stored",
      successful_count: 1,
      failures: [{ index: 1, error: "signal_score must be between 0 and 1" }],
    })
    expect(await bucket.head(batchObject(transaction_id))).toBeNull()
    expect(await deadLettersOf(transaction_id)).toEqual([])
  })

  it("have the time of their acceptance, not that of their storage", async () => {
    const [id = 0] = await store({})
    const { sent } = await queueScores({ scores: [{ signal_id: id, signal_score: 0.1 }] })
    await postJson("/api/scores", { scores: [{ signal_id: id, signal_score: 0.2 }] })
    await consume(sent)
    const [{ signal_score } = { signal_score: 0 }] = await query<{ signal_score: number }>(
      "select signal_score from signals where id = $1",
      [id],
    )
    expect(signal_score).toBe(0.2)
  })

  it("are one batch, far larger than a message", async () => {
    const [id = 0] = await store({})
    const scorer = "x".repeat(200)
    const scores = Array.from({ length: 900 }, (_, n) => ({ signal_id: id, signal_score: n / 900, scorer }))
    const { answer, sent } = await queueScores({ scores, fail_on_error: true })
    expect(sent).toHaveLength(1)
    await consume(sent)
    expect(await recordOf(answer.transaction_id)).toMatchObject({ state: "stored", successful_count: 900 })
  })

  it("share their Idempotency-Key with scores that are stored at once, in any order", async () => {
    const [id = 0] = await store({})
    const body = { scores: [{ signal_id: id, signal_score: 0.4 }] }
    const key = { "Idempotency-Key": crypto.randomUUID() }
    const first = await queueScores(body, key)
    const again = await queueScores(body, key)
    expect([again.response.status, again.answer.transaction_id]).toEqual([202, first.answer.transaction_id])
    const atOnce = await postScores(body, key)
    expect([atOnce.response.status, atOnce.answer.transaction_id]).toEqual([200, first.answer.transaction_id])
    expect(atOnce.response.headers.get("Idempotency-Replayed")).toBe("true")
    await consume([...first.sent, ...again.sent])
    expect(await scoresOf(id)).toEqual([0.4])
    const other = await queueScores({ scores: [{ signal_id: id, signal_score: 0.5 }] }, key)
    expect(other.response.status).toBe(422)
    const signals = { signals: [{ context_window_id: "c" }] }
    expect((await postTo(signals, { ...ASYNC, ...key })).response.status).toBe(422)
  })

  it("fail as a whole, with the reason, when all or nothing meets an unknown signal", async () => {
    const [id = 0] = await store({})
    const { answer, sent } = await queueScores({
      scores: [
        { signal_id: id, signal_score: 0.4 },
        { signal_id: UNKNOWN, signal_score: 0.4 },
      ],
      fail_on_error: true,
    })
    await consume(sent)
    expect(await recordOf(answer.transaction_id)).toMatchObject({
      kind: "scores",
      state: "failed",
      successful_count: 0,
      failures: [{ index: 1, code: "unknown_signal", retryable: true }],
    })
    expect(await scoresOf(id)).toEqual([])
  })

  it("become dead letters where they cannot be stored, which a replay stores when the signal is there", async () => {
    const dedupe_key = `gone ${crypto.randomUUID()}`
    const [gone = 0] = await store({ dedupe_key })
    await query("delete from signals where id = $1", [gone])
    // Reserved, as for a signal that is being stored.
    const [{ id } = { id: "" }] = await query<{ id: string }>("select nextval('signals_id_seq') as id")
    const { answer, sent } = await queueScores({
      scores: [
        { signal_id: Number(id), signal_score: 0.4, scored_at: "2026-01-02T03:04:05Z", scorer: "judge" },
        { dedupe_key, signal_score: 0.4 },
      ],
    })
    await consume(sent)
    await consume(sent)
    expect(await recordOf(answer.transaction_id)).toMatchObject({ state: "stored", failed_count: 2 })
    const letters = await deadLettersOf(answer.transaction_id)
    expect(letters).toEqual([
      {
        id: expect.any(String),
        index: 0,
        source: "score",
        code: "unknown_signal",
        record: expect.any(String),
      },
    ])
    expect(JSON.parse(letters[0]?.record ?? "")).toEqual({
      signal_id: Number(id),
      signal_score: 0.4,
      emotional_tone: null,
      escalate_flag: null,
      scored_at: "2026-01-02T03:04:05.000000Z",
      scorer: "judge",
    })
    const replay = async () =>
      (await send(`/api/dead-letters/${letters[0]?.id}/replay`, { method: "POST" })).json()
    expect(await replay()).toMatchObject({
      replayed: false,
      reason: "no stored signal has this signal_id",
    })
    await query(
      `insert into signals (id, "time", transaction_id, context_window_id, signal_source, signal_score, escalate_flag)
       overriding system value values ($1, now(), gen_random_uuid(), 'later', 'tests', 0.1, 0)`,
      [id],
    )
    expect(await replay()).toMatchObject({ replayed: true })
    expect(await replay()).toMatchObject({ replayed: true })
    expect(await scoresOf(Number(id))).toEqual([0.4])
    await query("delete from signals where id = $1", [id])
  })

  it("store nothing for a signal that was erased while they waited, and keep nothing of it", async () => {
    const user_id = `user ${crypto.randomUUID()}`
    const dedupe_key = `key ${crypto.randomUUID()}`
    const [id = 0] = await store({ user_id, dedupe_key })
    const { answer, sent } = await queueScores({
      scores: [{ dedupe_key, signal_score: 0.4, scorer: "judge" }],
    })
    await postJson("/api/erasures", { user_id })
    await expect.poll(async () => (await send(`/api/signals/${id}`)).status).toBe(404)
    await consume(sent)
    expect(await recordOf(answer.transaction_id)).toMatchObject({
      failures: [{ index: 0, code: "deleted_signal" }],
    })
    expect(await deadLettersOf(answer.transaction_id)).toEqual([])
    expect(await query("select from waiting_scores where dedupe_key = $1", [dedupe_key])).toEqual([])
  })

  it("stay in the bucket when their message goes to the dead-letter queue", async () => {
    const [id = 0] = await store({})
    const { answer, sent } = await queueScores({ scores: [{ signal_id: id, signal_score: 0.4 }] })
    const { explicitAcks } = await consume(sent, { queue: DEAD_LETTERS })
    expect(explicitAcks).toHaveLength(1)
    const object = batchObject(answer.transaction_id)
    expect(await bucket.head(object)).not.toBeNull()
    await consume([messageText({ version: 1, kind: "claim_check", object })])
    expect(await scoresOf(id)).toEqual([0.4])
  })

  it("are stored at once, and answered 200, while the queue fails", async () => {
    const [id = 0] = await store({})
    const failing = { send: () => Promise.reject(new Error("the queue fails")) } as unknown as Queue
    const body = { scores: [{ signal_id: id, signal_score: 0.4 }] }
    const { response, answer } = await queueScores(body, {}, { QUEUE: failing })
    expect([response.status, answer.successful_count]).toEqual([200, 1])
    // The bucket has them all the same.
    await consume([
      messageText({ version: 1, kind: "claim_check", object: batchObject(answer.transaction_id) }),
    ])
    expect(await scoresOf(id)).toEqual([0.4])
  })

  it("count in a data point of their own, and not as signals", async () => {
    const points: DataPoint[] = []
    const METRICS = { writeDataPoint: (point: DataPoint) => void points.push(point) }
    const [id = 0] = await store({})
    const key = `later ${crypto.randomUUID()}`
    const scores = [
      { signal_id: id, signal_score: 0.4 },
      { signal_id: UNKNOWN, signal_score: 0.4 },
      { dedupe_key: key, signal_score: 0.4 },
    ]
    const { sent } = await queueScores({ scores }, {}, { METRICS })
    await consume(sent, { bindings: { METRICS } })
    await postScores({ scores: scores.slice(0, 1) }, {}, { METRICS })
    const shown = points.map(({ blobs, doubles }) => {
      const [total, successes, failures] = doubles
      return [blobs[0], blobs[2], total, successes, failures, doubles[9]]
    })
    expect(shown).toEqual([
      ["POST /api/scores", "queued", 3, 0, 0, 0],
      ["QUEUE signals", "stored", 0, 0, 0, 0],
      ["SCORES", "partly_stored", 3, 1, 1, 1],
      ["POST /api/scores", "stored", 1, 1, 0, 0],
    ])
  })
})
