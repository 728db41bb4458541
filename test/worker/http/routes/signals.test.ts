import { describe, expect, it } from "vitest"
import type { BatchAnswer, StoredSignal } from "../../../../src/signals/responses.ts"
import {
  countOf,
  freshConversation,
  planAvoidingSort,
  postBatch,
  postJson,
  query,
  send,
} from "../../service.ts"

const read = async <T>(path: string) => (await (await send(path)).json()) as T
const listed = (params: Record<string, string>) =>
  read<{ signals: StoredSignal[]; next_cursor: string | null }>(`/api/signals?${new URLSearchParams(params)}`)

describe("POST /api/signals", () => {
  it("answers 201 with the row of a read", async () => {
    const fields = {
      context_window_id: freshConversation(),
      raw_content: "text",
      signal_source: "Axis",
      signal_score: 0.25,
      emotional_tone: 1,
      escalate_flag: 1,
      payload: { a: [1, "x", null] },
    }
    const response = await postJson("/api/signals", {
      ...fields,
      timestamp: "2025-01-15T10:30:00.123456+02:00",
    })
    expect(response.status).toBe(201)
    const stored = (await response.json()) as StoredSignal
    expect(stored).toMatchObject({ ...fields, time: "2025-01-15T08:30:00.123456Z" })
    expect(await read(`/api/signals/${stored.id}`)).toEqual({ ...stored, scores: [] })
  })

  it("answers with the time at which the row was stored, also on a replay", async () => {
    const signal = { context_window_id: freshConversation(), timestamp: "2025-01-15T08:30:00Z" }
    const headers = { "Idempotency-Key": crypto.randomUUID() }
    const stored = (await (await postJson("/api/signals", signal, headers)).json()) as StoredSignal
    const [row] = await query<{ matches: boolean; age: number }>(
      "select received_at = $2::timestamptz as matches, extract(epoch from now() - received_at)::float8 as age from signals where id = $1",
      [stored.id, stored.received_at],
    )
    expect(row).toMatchObject({ matches: true })
    expect(row?.age).toBeLessThan(60)
    const [ledger] = await query(
      "select created_at = $2::timestamptz as matches from batches where transaction_id = $1",
      [stored.transaction_id, stored.received_at],
    )
    expect(ledger).toEqual({ matches: true })
    await query("delete from signals where id = $1", [stored.id])
    expect(await (await postJson("/api/signals", signal, headers)).json()).toEqual(stored)
  })

  it("does not accept received_at from the sender", async () => {
    const signal = { context_window_id: freshConversation(), received_at: "2020-01-01T00:00:00Z" }
    expect(await (await postBatch({ signals: [signal] })).json()).toMatchObject({
      successful_count: 1,
      ignored_fields: ["received_at"],
    })
    const [row] = (await listed({ context_window_id: signal.context_window_id })).signals
    expect(row?.received_at.slice(0, 4)).not.toBe("2020")
  })

  it("fills in the defaults", async () => {
    const response = await postJson("/api/signals", {
      context_window_id: freshConversation(),
      signal_score: null,
    })
    expect(await response.json()).toMatchObject({
      signal_source: "unknown",
      signal_score: 0.5,
      escalate_flag: 0,
      payload: null,
      user_id: null,
    })
  })

  it("answers a broken rule with 422 and the field", async () => {
    const response = await postJson("/api/signals", {
      context_window_id: freshConversation(),
      signal_score: 7,
    })
    expect(response.status).toBe(422)
    expect(await response.json()).toEqual({
      detail: [
        { type: "value_error", loc: ["body", "signal_score"], msg: "signal_score must be between 0 and 1" },
      ],
      code: "invalid_request",
    })
  })

  it("answers a duplicate with 200 and the first one's id, even when that signal was deleted", async () => {
    const signal = { context_window_id: freshConversation(), dedupe_key: crypto.randomUUID() }
    const { id } = await (await postJson("/api/signals", signal)).json<{ id: number }>()
    await query("delete from signals where id = $1::int8", [id])
    const again = await postJson("/api/signals", signal)
    expect([again.status, await again.json()]).toEqual([200, { id, duplicate: true }])
    const batch = await postBatch({ signals: [signal] })
    expect(await batch.json()).toMatchObject({ results: [{ success: true, signal_id: id, duplicate: true }] })
    expect(await countOf(signal.context_window_id)).toBe(0)
  })

  it("answers a duplicate with 200 and the first one's row", async () => {
    const signal = { context_window_id: freshConversation(), dedupe_key: crypto.randomUUID() }
    const first = await (await postJson("/api/signals", { ...signal, raw_content: "first" })).json()
    const second = await postJson("/api/signals", { ...signal, raw_content: "second" })
    expect(second.status).toBe(200)
    expect(await second.json()).toEqual({ ...(first as object), duplicate: true })
  })

  it("replays its first answer under the same Idempotency-Key", async () => {
    const signal = { context_window_id: freshConversation(), timestamp: 1517781728.000107 }
    const headers = { "Idempotency-Key": crypto.randomUUID() }
    const first = await postJson("/api/signals", signal, headers)
    const again = await postJson("/api/signals", signal, headers)
    expect([again.status, again.headers.get("Idempotency-Replayed")]).toEqual([201, "true"])
    expect(await again.json()).toEqual(await first.json())
  })
})

describe("a signal that is read back", () => {
  it("equals what was sent, byte for byte, with astral and combining characters, U+2028, and digits beyond 2^53", async () => {
    const text = "e\u0301 \u00e9 \u{1F600}\u{1F1E9}\u{1F1EA} \u2028\u2029 \u0001 \\ \" ' {,} NULL"
    const payload =
      '{"big":123456789012345678901234567890,"small":1e-400,"exact":0.10000000000000000555,"text":"\u2028\u{10FFFF}"}'
    const conversation = freshConversation()
    const response = await postBatch(
      `{"signals":[{"context_window_id":"${conversation}","raw_content":${JSON.stringify(text)},"payload":${payload}}]}`,
    )
    const { results } = (await response.json()) as BatchAnswer
    const body = await (await send(`/api/signals/${results[0]?.signal_id}`)).text()
    expect(JSON.parse(body).raw_content).toBe(text)
    expect(body).toContain('"big":123456789012345678901234567890')
    expect(body).toContain('"exact":0.10000000000000000555')
    expect(JSON.parse(body).payload.text).toBe("\u2028\u{10FFFF}")
    const [row] = await query<{ raw_content: string }>(
      "select raw_content from signals where context_window_id = $1",
      [conversation],
    )
    expect(row?.raw_content).toBe(text)
  })
})

describe("GET /api/signals", () => {
  it("pages through a conversation, newest first, each signal once, even with equal times", async () => {
    const conversation = freshConversation()
    const times = [5, 3, 3, 3, 9, 1, 3].map((second) => 1_700_000_000 + second)
    await postBatch({ signals: times.map((timestamp) => ({ context_window_id: conversation, timestamp })) })
    const seen: StoredSignal[] = []
    let cursor: string | null = ""
    do {
      const page = await listed({ context_window_id: conversation, limit: "2", ...(cursor && { cursor }) })
      seen.push(...page.signals)
      cursor = page.next_cursor
    } while (cursor)
    const order = seen.map(({ time, id }) => [time, id] as const)
    expect(new Set(seen.map(({ id }) => id)).size).toBe(times.length)
    expect(order).toEqual([...order].sort(([t1, i1], [t2, i2]) => (t1 === t2 ? i2 - i1 : t1 < t2 ? 1 : -1)))
  })

  it("filters by source and by time, since inclusive and until exclusive", async () => {
    const conversation = freshConversation()
    const signals = [10, 20, 30].flatMap((timestamp) =>
      ["Slack", "Neo"].map((signal_source) => ({
        context_window_id: conversation,
        timestamp,
        signal_source,
      })),
    )
    await postBatch({ signals })
    const page = await listed({
      context_window_id: conversation,
      signal_source: "Neo",
      since: "1970-01-01T00:00:10Z",
      until: "30",
    })
    expect(page.signals.map(({ time, signal_source }) => [time, signal_source])).toEqual([
      ["1970-01-01T00:00:20.000000Z", "Neo"],
      ["1970-01-01T00:00:10.000000Z", "Neo"],
    ])
    expect(page.next_cursor).toBeNull()
  })

  it("reads an offset whose plus sign was not percent-encoded", async () => {
    expect((await send("/api/signals?since=2025-01-15T10:00:00+02:00")).status).toBe(200)
  })

  it.each([
    ["limit=0", "limit", "greater_than_equal"],
    ["limit=1001", "limit", "less_than_equal"],
    ["limit=many", "limit", "int_parsing"],
    ["since=yesterday", "since", "datetime_parsing"],
    ["cursor=abc", "cursor", "value_error"],
    [`cursor=${btoa('["2025-01-15\' or 1=1",1]')}`, "cursor", "value_error"],
  ])("refuses ?%s", async (search, field, type) => {
    const response = await send(`/api/signals?${search}`)
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ detail: [{ type, loc: ["query", field] }] })
  })

  it.each([
    "",
    "where context_window_id = 'a'",
    "where signal_source = 'a'",
    "where context_window_id = 'a' and (time, id) < (now(), 5)",
  ])("can read an index instead of sorting: %s", async (where) => {
    const plan = await planAvoidingSort(
      `select id from signals ${where} order by time desc, id desc limit 10`,
    )
    expect(plan).toMatch(/Index (Only )?Scan Backward/)
    expect(plan).not.toContain("Sort")
  })
})

describe("GET /api/signals/{id}", () => {
  it("is 404 for an unknown id", async () => {
    const response = await send("/api/signals/999999999999")
    expect([response.status, await response.json()]).toEqual([
      404,
      { detail: "No signal has this id.", code: "not_found" },
    ])
  })

  it("is 422 for text that is not an id", async () => {
    const response = await send("/api/signals/first")
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({
      detail: [{ type: "int_parsing", loc: ["path", "id"], input: "first" }],
    })
  })
})

describe("GET /api/signals/stats", () => {
  // More than the conversations of other tests have, since the answer lists the largest only.
  const MANY = 200
  const FEW = 150

  it("counts each conversation of the last day, most signals first", async () => {
    const [many, few] = [freshConversation(), freshConversation()]
    const old = { context_window_id: few, timestamp: "2001-01-01" }
    await postBatch({
      signals: [
        ...Array(MANY).fill({ context_window_id: many, signal_score: 0.25 }),
        ...Array(FEW).fill({ context_window_id: few }),
        old,
      ],
    })
    const { stats } = await read<{
      stats: { context_window_id: string; signal_count: number; avg_score: number }[]
    }>("/api/signals/stats")
    const mine = stats.filter(
      ({ context_window_id }) => context_window_id === many || context_window_id === few,
    )
    expect(mine).toEqual([
      {
        context_window_id: many,
        signal_count: MANY,
        avg_score: 0.25,
        latest_signal: expect.stringMatching(/^\d{4}-.*\.\d{6}Z$/),
      },
      { context_window_id: few, signal_count: FEW, avg_score: 0.5, latest_signal: expect.any(String) },
    ])
  })
})

describe("GET /api/batches/{transaction_id}", () => {
  it("returns counts, failures, caller, time and state", async () => {
    const conversation = freshConversation()
    const signals = [
      { context_window_id: conversation },
      { context_window_id: conversation, escalate_flag: 3 },
    ]
    const { transaction_id } = (await (await postBatch({ signals })).json()) as BatchAnswer
    expect(transaction_id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7/)
    expect(await read(`/api/batches/${transaction_id}`)).toEqual({
      transaction_id,
      state: "stored",
      created_at: expect.stringMatching(/^\d{4}-.*\.\d{6}Z$/),
      caller: "anonymous",
      idempotency_key: null,
      total_count: 2,
      successful_count: 1,
      failed_count: 1,
      failures: [
        {
          index: 1,
          error: "escalate_flag must be 0 or 1",
          code: "out_of_range",
          field: "escalate_flag",
          retryable: false,
        },
      ],
    })
  })

  it("is 404 for an unknown id", async () =>
    expect((await send("/api/batches/0190a1b2-0000-7000-8000-000000000000")).status).toBe(404))
})
