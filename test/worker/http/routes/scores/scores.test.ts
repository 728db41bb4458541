import { describe, expect, it } from "vitest"
import { readSettings } from "../../../../../src/config.ts"
import type { BatchAnswer, StoredSignal } from "../../../../../src/signals/responses.ts"
import { connect } from "../../../../../src/store/database/connection.ts"
import { expireWaitingScores, storeArrivedScores } from "../../../../../src/store/scores/waiting.ts"
import { bindings, freshConversation, postBatch, postJson, query, send } from "../../../service.ts"

type Json = Record<string, unknown>

async function store(...signals: Json[]): Promise<number[]> {
  const context_window_id = freshConversation()
  const response = await postBatch({
    signals: signals.map((signal) => ({ context_window_id, ...signal })),
    fail_on_error: true,
  })
  const { results } = (await response.json()) as BatchAnswer
  return results.map(({ signal_id }) => signal_id ?? 0)
}

async function post(body: unknown, headers: Record<string, string> = {}) {
  const response = await postJson("/api/scores", body, headers)
  return { status: response.status, headers: response.headers, body: (await response.json()) as Json }
}

/** Scores that are stored, with the results. */
async function score(...scores: Json[]): Promise<BatchAnswer["results"]> {
  const { status, body } = await post({ scores })
  expect([status, body]).toEqual([200, body])
  return (body as unknown as BatchAnswer).results
}

type Scored = StoredSignal & { scores: Json[] }
const read = async (id: number) => (await (await send(`/api/signals/${id}`)).json()) as Scored
const valuesOf = ({ signal_score, emotional_tone, escalate_flag }: StoredSignal) => [
  signal_score,
  emotional_tone,
  escalate_flag,
]

describe("a late score", () => {
  it("changes what it has, keeps the rest, and stays in the history", async () => {
    const [id = 0] = await store({ signal_score: 0.2, emotional_tone: 0.3 })
    const [result] = await score({
      signal_id: id,
      signal_score: 0.9,
      scored_at: "2026-01-02T03:04:05+01:00",
      scorer: "judge-1",
    })
    expect(result).toEqual({ index: 0, success: true, signal_id: id, error: null })
    const signal = await read(id)
    expect(valuesOf(signal)).toEqual([0.9, 0.3, 0])
    expect(signal.edited_at).toBeNull()
    expect(signal.scores).toEqual([
      {
        signal_score: 0.9,
        emotional_tone: null,
        escalate_flag: null,
        scored_at: "2026-01-02T02:04:05.000000Z",
        scorer: "judge-1",
        received_at: expect.stringMatching(/^20.*Z$/),
        transaction_id: expect.any(String),
      },
    ])
  })

  it("names its signal by its dedupe_key, too", async () => {
    const dedupe_key = `key ${crypto.randomUUID()}`
    const [id = 0] = await store({ dedupe_key })
    expect(await score({ dedupe_key, escalate_flag: 1 })).toEqual([
      { index: 0, success: true, signal_id: id, error: null },
    ])
    expect(valuesOf(await read(id))).toEqual([0.5, null, 1])
  })

  it("counts by its own time, not by its arrival; each value has its own newest score", async () => {
    const [id = 0] = await store({})
    await score(
      { signal_id: id, signal_score: 0.9, scored_at: "2026-01-03T00:00:00Z" },
      { signal_id: id, signal_score: 0.1, emotional_tone: 0.7, scored_at: "2026-01-02T00:00:00Z" },
    )
    await score({ signal_id: id, signal_score: 0.2, escalate_flag: 1, scored_at: "2026-01-01T00:00:00Z" })
    const signal = await read(id)
    expect(valuesOf(signal)).toEqual([0.9, 0.7, 1])
    expect(signal.scores.map(({ signal_score }) => signal_score)).toEqual([0.9, 0.1, 0.2])
  })

  it("is used by filters and statistics", async () => {
    const context_window_id = freshConversation()
    const [id = 0] = await store({ context_window_id, signal_score: 0.1 })
    await score({ signal_id: id, signal_score: 0.8, escalate_flag: 1 })
    for (const filter of [{ min_score: "0.8" }, { escalate_flag: "1" }]) {
      const list = await send(`/api/signals?${new URLSearchParams({ context_window_id, ...filter })}`)
      expect(((await list.json()) as { signals: StoredSignal[] }).signals.map((one) => one.id)).toEqual([id])
    }
    const [{ avg_score } = { avg_score: 0 }] = await query<{ avg_score: number }>(
      "select avg(signal_score) as avg_score from signals where context_window_id = $1",
      [context_window_id],
    )
    expect(avg_score).toBe(0.8)
  })

  it("is stored once, however often it is sent", async () => {
    const [id = 0] = await store({})
    const one = { signal_id: id, signal_score: 0.9, scored_at: "2026-01-01T00:00:00Z" }
    expect(await score(one, one)).toEqual([
      { index: 0, success: true, signal_id: id, error: null },
      { index: 1, success: true, signal_id: id, error: null, duplicate: true },
    ])
    expect(await score(one)).toEqual([
      { index: 0, success: true, signal_id: id, error: null, duplicate: true },
    ])
    expect((await read(id)).scores).toHaveLength(1)
  })

  it("is left out of the answer to a lone signal, which has no history", async () => {
    const response = await postJson("/api/signals", { context_window_id: freshConversation() })
    expect(await response.json()).not.toHaveProperty("scores")
  })
})

describe("a batch of scores", () => {
  it("fails one by one for an unknown signal, which may still come", async () => {
    const dedupe_key = `deleted ${crypto.randomUUID()}`
    const [id = 0, deleted = 0] = await store({}, { dedupe_key })
    await query("delete from signals where id = $1", [deleted])
    const { body } = await post({
      scores: [
        { signal_id: 9_007_199_254_740_991, signal_score: 0.1 },
        { signal_id: id, signal_score: 0.2 },
        { dedupe_key, signal_score: 0.3 },
      ],
    })
    expect(body).toEqual({
      total_count: 3,
      successful_count: 1,
      failed_count: 2,
      waiting_count: 0,
      transaction_id: expect.any(String),
      results: [
        {
          index: 0,
          success: false,
          signal_id: null,
          error: "no stored signal has this signal_id",
          code: "unknown_signal",
          field: "signal_id",
          retryable: true,
        },
        { index: 1, success: true, signal_id: id, error: null },
        {
          index: 2,
          success: false,
          signal_id: null,
          error: "the signal with this dedupe_key was deleted",
          code: "deleted_signal",
          field: "dedupe_key",
          retryable: false,
        },
      ],
    })
    const record = await (await send(`/api/batches/${body.transaction_id}`)).json()
    expect(record).toMatchObject({
      kind: "scores",
      state: "stored",
      total_count: 3,
      failed_count: 2,
      failures: [{ index: 0 }, { index: 2 }],
    })
  })

  it.each<[name: string, value: Json, code: string, field: string]>([
    ["no signal", { signal_id: null }, "missing_field", "signal_id"],
    ["two signals", { dedupe_key: "k" }, "two_signals", "dedupe_key"],
    ["an id below 1", { signal_id: 0 }, "out_of_range", "signal_id"],
    ["an id beyond a double", { signal_id: 1e300 }, "out_of_range", "signal_id"],
    ["an empty key", { signal_id: null, dedupe_key: "" }, "wrong_length", "dedupe_key"],
    ["a long key", { signal_id: null, dedupe_key: "k".repeat(256) }, "wrong_length", "dedupe_key"],
    ["a long scorer", { scorer: "s".repeat(256) }, "wrong_length", "scorer"],
    ["a scorer with U+0000", { scorer: "\0" }, "invalid_text", "scorer"],
    ["no value", { signal_score: null }, "missing_field", "signal_score"],
    ["a score above 1", { signal_score: 1.1 }, "out_of_range", "signal_score"],
    ["a tone below 0", { emotional_tone: -0.1 }, "out_of_range", "emotional_tone"],
    ["a flag of 2", { escalate_flag: 2 }, "out_of_range", "escalate_flag"],
    ["a time of the future", { scored_at: "2999-01-01T00:00:00Z" }, "too_far_ahead", "scored_at"],
    ["a time out of range", { scored_at: 1e18 }, "out_of_range", "scored_at"],
  ])("fails for %s, and stores the others", async (_, value, code, field) => {
    const [id = 0] = await store({})
    const scores = [
      { signal_id: id, signal_score: 0.5, ...value },
      { signal_id: id, signal_score: 0.25 },
    ]
    const results = await score(...scores)
    expect(results).toMatchObject([{ success: false, code, field }, { success: true }])
    expect(results[0]?.error).toContain(field)
    const { status, body } = await post({ scores, fail_on_error: true })
    expect([status, body.code]).toEqual([400, "batch_rejected"])
    expect((await read(id)).scores).toHaveLength(1)
  })

  it.each<[name: string, body: unknown, type: string, loc: unknown[]]>([
    ["a text for a number", { scores: [{ signal_id: "7" }] }, "int_type", ["body", "scores", 0, "signal_id"]],
    [
      "a fraction for an id",
      { scores: [{ signal_id: 1.5 }] },
      "int_from_float",
      ["body", "scores", 0, "signal_id"],
    ],
    ["no scores", {}, "missing", ["body", "scores"]],
    ["signals", { signals: [] }, "missing", ["body", "scores"]],
    ["no list", { scores: 1 }, "list_type", ["body", "scores"]],
    [
      "a time that is none",
      { scores: [{ scored_at: "soon" }] },
      "datetime_parsing",
      ["body", "scores", 0, "scored_at"],
    ],
  ])("of a wrong shape is refused whole: %s", async (_, sent, type, loc) => {
    const { status, body } = await post(sent)
    expect([status, body.detail]).toEqual([422, [expect.objectContaining({ type, loc })]])
  })

  it("lets a score of a wrong shape fail alone where it is asked to", async () => {
    const [id = 0] = await store({})
    const { status, body, headers } = await post(
      { scores: [{ signal_id: "7" }, { signal_id: id, signal_score: 0.1, mood: "x" }], extra: 1 },
      { Prefer: "handling=lenient, return=minimal" },
    )
    expect([status, headers.get("Preference-Applied")]).toEqual([200, "return=minimal, handling=lenient"])
    expect(body).toMatchObject({
      successful_count: 1,
      ignored_fields: ["extra", "mood"],
      results: [{ index: 0, code: "wrong_type", field: "signal_id" }],
    })
  })

  it("reads lines, and takes fail_on_error from the address then", async () => {
    const [id = 0] = await store({})
    const lines = `{"signal_id":${id},"signal_score":0.1}\n{"signal_id":1e15,"signal_score":0.2}\n`
    const headers = { "Content-Type": "application/x-ndjson" }
    const all = await send("/api/scores?fail_on_error=true", { method: "POST", body: lines, headers })
    expect([all.status, await all.json()]).toMatchObject([400, { code: "batch_rejected" }])
    expect((await read(id)).scores).toEqual([])
    const each = await send("/api/scores", { method: "POST", body: lines, headers })
    expect(await each.json()).toMatchObject({ successful_count: 1, failed_count: 1 })
  })

  it("stores all or nothing for an unknown signal", async () => {
    const [id = 0] = await store({})
    const { status, body } = await post({
      scores: [
        { signal_id: id, signal_score: 0.9 },
        { signal_id: 1e15, signal_score: 0.3 },
      ],
      fail_on_error: true,
    })
    expect([status, body]).toEqual([
      400,
      {
        detail: expect.stringContaining("Batch failed at index 1: no stored signal has this signal_id"),
        code: "batch_rejected",
        errors: [expect.objectContaining({ index: 1, code: "unknown_signal", retryable: true })],
      },
    ])
    expect(await read(id)).toMatchObject({ signal_score: 0.5, scores: [] })
  })

  it("is answered again under its key, and refuses another request under it", async () => {
    const key = crypto.randomUUID()
    const [one = 0, two = 0] = await store({}, {})
    const old = { signal_id: two, signal_score: 0.1, scored_at: "2026-01-01T00:00:00Z" }
    await score(old)
    const body = {
      scores: [
        { signal_id: two, signal_score: 0.3 },
        old,
        { signal_id: one, signal_score: 0.4 },
        { dedupe_key: `early ${key}`, signal_score: 0.5 },
      ],
    }
    const first = await post(body, { "Idempotency-Key": key })
    const again = await post(body, { "Idempotency-Key": key })
    expect(again.body).toEqual(first.body)
    expect(first.body.results).toMatchObject([
      { signal_id: two },
      { signal_id: two, duplicate: true },
      { signal_id: one },
      { success: true, signal_id: null, waiting: true },
    ])
    expect(again.headers.get("Idempotency-Replayed")).toBe("true")
    expect((await read(one)).scores).toHaveLength(1)
    for (const other of [{ ...body, fail_on_error: true }, { scores: [], x: 1 }, { scores: [old] }]) {
      if (other.scores.length === 0) continue
      expect(await post(other, { "Idempotency-Key": key })).toMatchObject({
        status: 422,
        body: { code: "idempotency_key_reused" },
      })
    }
    const signals = await postBatch({ signals: [{ context_window_id: "c" }] }, { "Idempotency-Key": key })
    expect(signals.status).toBe(422)
  })

  it("may be empty, and then writes nothing", async () => {
    expect((await post({ scores: [] })).body).toEqual({
      total_count: 0,
      successful_count: 0,
      failed_count: 0,
      waiting_count: 0,
      results: [],
      transaction_id: null,
    })
  })

  it("has a bound for its scores, and for those of one signal", async () => {
    const [id = 0] = await store({})
    const many = (count: number, from = 0) =>
      Array.from({ length: count }, (_, n) => ({
        signal_id: id,
        signal_score: 0.1,
        scored_at: new Date(Date.UTC(2026, 0, 1) + (from + n) * 1000).toISOString(),
      }))
    expect(await post({ scores: many(10_001) })).toMatchObject({
      status: 413,
      body: { code: "too_many_signals", detail: expect.stringContaining("at most 10000 scores") },
    })
    const { body } = await post({ scores: many(1001) }, { Prefer: "return=minimal" })
    expect(body).toMatchObject({
      successful_count: 1000,
      results: [{ index: 1000, code: "too_many_scores", retryable: false }],
    })
    expect((await read(id)).scores).toHaveLength(1000)
  })

  it("needs the scope ingest and another method than GET", async () => {
    expect((await send("/api/scores")).status).toBe(405)
  })
})

describe("a score that comes before its signal", () => {
  const early = () => ({
    dedupe_key: `early ${crypto.randomUUID()}`,
    signal_score: 0.9,
    scored_at: "2026-01-01T00:00:00Z",
  })
  const sweep = async () => {
    await storeArrivedScores(connect(settings()))
    return expireWaitingScores(connect(settings()))
  }
  const settings = () => ({ ...readSettings(bindings).database, deadlineMs: 10_000 })
  const waiting = (dedupe_key: string) =>
    query<{ id: string }>("select id from waiting_scores where dedupe_key = $1", [dedupe_key])

  it("is counted in waiting_count, in the answer, a replayed one and the ledger, also without its result", async () => {
    const [id = 0] = await store({})
    const scores = [early(), { signal_id: id, signal_score: 0.9 }, early(), early()]
    const headers = { "Idempotency-Key": crypto.randomUUID(), Prefer: "return=minimal" }
    const counts = { total_count: 4, successful_count: 4, failed_count: 0, waiting_count: 3 }
    const first = await post({ scores }, headers)
    expect(first.body).toMatchObject({ ...counts, results: [] })
    expect((await post({ scores }, headers)).body).toMatchObject(counts)
    expect(await (await send(`/api/batches/${first.body.transaction_id}`)).json()).toMatchObject(counts)
    const page = (await (await send("/api/batches?limit=100")).json()) as { batches: Json[] }
    expect(page.batches.find((one) => one.transaction_id === first.body.transaction_id)).toMatchObject(counts)
  })

  it("waits, and is stored when its signal has come; the feed delivers the signal once more", async () => {
    const one = early()
    expect(await score(one, one, { ...one, signal_score: 0.1, scored_at: "2025-01-01T00:00:00Z" })).toEqual(
      [0, 1, 2].map((index) => ({ index, success: true, signal_id: null, error: null, waiting: true })),
    )
    expect(await waiting(one.dedupe_key)).toHaveLength(2)
    await sweep()
    expect(await waiting(one.dedupe_key)).toHaveLength(2)
    const position = (await (await send("/api/signals/feed?after=now")).json()) as { next_cursor: string }
    const [id = 0] = await store({ dedupe_key: one.dedupe_key })
    await sweep()
    expect(await waiting(one.dedupe_key)).toEqual([])
    const signal = await read(id)
    expect([signal.signal_score, signal.scores.length]).toEqual([0.9, 2])
    const page = await send(`/api/signals/feed?after=${encodeURIComponent(position.next_cursor)}`)
    const { signals } = (await page.json()) as { signals: (StoredSignal & { change?: string })[] }
    expect(signals.filter((one) => one.id === id).map(({ change }) => change)).toEqual([undefined, "score"])
    await sweep()
    expect((await read(id)).scores).toHaveLength(2)
  })

  it("is dropped when its signal has been deleted by then", async () => {
    const one = early()
    await score(one)
    const [id = 0] = await store({ dedupe_key: one.dedupe_key })
    await query("delete from signals where id = $1", [id])
    await sweep()
    expect(await waiting(one.dedupe_key)).toEqual([])
    expect(await query("select from signal_scores where signal_id = $1", [id])).toEqual([])
    expect((await score(one))[0]).toMatchObject({ success: false, code: "deleted_signal" })
  })

  it("becomes a dead letter after seven days, which a replay stores", async () => {
    const one = { ...early(), escalate_flag: 1, scorer: "judge" }
    await score(one)
    const age = (interval: string) =>
      query("update waiting_scores set created_at = now() - $2::interval where dedupe_key = $1", [
        one.dedupe_key,
        interval,
      ])
    await age("6 days 23 hours")
    await sweep()
    expect(await waiting(one.dedupe_key)).toHaveLength(1)
    await age("7 days 1 minute")
    expect(await sweep()).toBe(1)
    expect(await waiting(one.dedupe_key)).toEqual([])
    const list = await send("/api/dead-letters?limit=5")
    const { dead_letters } = (await list.json()) as { dead_letters: { id: number; source: string }[] }
    const [letter] = dead_letters
    expect(letter).toMatchObject({ source: "score", code: "unknown_signal", field: "dedupe_key" })
    const [id = 0] = await store({ dedupe_key: one.dedupe_key })
    for (const path of [
      `/api/dead-letters/${letter?.id}/replay`,
      `/api/dead-letters/replay?ids=${letter?.id}`,
    ])
      expect((await postJson(path, {})).status).toBe(200)
    expect(await read(id)).toMatchObject({
      signal_score: 0.9,
      escalate_flag: 1,
      scores: [{ scorer: "judge" }],
    })
    expect((await read(id)).scores).toHaveLength(1)
  })

  it("is refused when 100,000 wait, and an existing one is not", async () => {
    await query(
      `insert into waiting_scores (caller, transaction_id, index, dedupe_key, scored_at, signal_score)
       select 'filler', gen_random_uuid(), 0, 'filler ' || n, now(), 0.5 from generate_series(1, 100000) as n`,
    )
    try {
      const [id = 0] = await store({})
      const { body } = await post({ scores: [early(), { signal_id: id, signal_score: 0.1 }] })
      expect(body.results).toMatchObject([
        { success: false, code: "too_many_waiting", field: "dedupe_key", retryable: true },
        { success: true },
      ])
    } finally {
      await query("delete from waiting_scores where caller = 'filler'")
    }
  })
})

describe("the feed", () => {
  it("delivers a signal once more for a batch of scores, with its newest values", async () => {
    const context_window_id = freshConversation()
    const position = (await (await send("/api/signals/feed?after=now")).json()) as { next_cursor: string }
    const [one = 0, two = 0, three = 0] = await store(
      { context_window_id },
      { context_window_id },
      { context_window_id },
    )
    const scored = [three, one, one].map((signal_id, n) => ({
      signal_id,
      signal_score: (n + 1) / 10,
      scored_at: `2026-01-0${n + 1}T00:00:00Z`,
    }))
    await score(...scored)
    await score({ signal_id: two, signal_score: 0.9 })
    await score(...scored)
    for (const limit of [100, 1, 2]) {
      const seen: unknown[] = []
      let after = position.next_cursor
      for (let more = true; more; ) {
        const response = await send(`/api/signals/feed?limit=${limit}&after=${encodeURIComponent(after)}`)
        const page = (await response.json()) as {
          signals: (StoredSignal & { change?: string })[]
          next_cursor: string
          more: boolean
        }
        for (const signal of page.signals)
          if (signal.context_window_id === context_window_id)
            seen.push([signal.id, signal.change, signal.signal_score])
        after = page.next_cursor
        more = page.more
      }
      expect(seen).toEqual([
        [one, undefined, 0.3],
        [two, undefined, 0.9],
        [three, undefined, 0.1],
        [one, "score", 0.3],
        [three, "score", 0.1],
        [two, "score", 0.9],
      ])
    }
  })
})
