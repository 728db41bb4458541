import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { app } from "../../../src/app.ts"
import type { BatchAnswer, StoredSignal } from "../../../src/signals/responses.ts"
import { bindings, countOf, freshConversation, postBatch, query, send } from "../service.ts"

/** Text that may be stored: well-formed, without U+0000. */
const text = fc
  .string({ unit: "binary", maxLength: 60 })
  .filter((value) => value.isWellFormed() && !value.includes("\0"))

/** Any object that survives JSON, with names and texts that may be stored. */
const payload = fc
  .dictionary(
    text,
    fc.jsonValue({ maxDepth: 4 }).filter((value) => !/\\u(0000|d[89a-f])/.test(JSON.stringify(value))),
    { maxKeys: 5 },
  )
  .map((value) => JSON.parse(JSON.stringify(value)) as Record<string, unknown>)

const share = fc.double({ min: 0, max: 1, noNaN: true })
const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null })
const name = fc.string({ unit: "grapheme", minLength: 1, maxLength: 30 })

const goodSignal = fc.record({
  raw_content: optional(text),
  signal_source: name,
  signal_score: share,
  signal_vector: optional(text),
  emotional_tone: optional(share),
  escalate_flag: fc.constantFrom(0, 1),
  agent_id: optional(text),
  user_id: optional(text),
  payload: optional(payload),
  relationship_context: optional(text),
  diagnostic_notes: optional(text),
})

/** A double's sign of zero is the one thing that Postgres' jsonb and this comparison do not keep. */
const comparable = (value: unknown) =>
  JSON.parse(JSON.stringify(value), (_, item) => (item === 0 ? 0 : item)) as unknown

/** Postgres' jsonb keeps values, not the order of names. */
const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([key, item]) => [key, sorted(item)]),
  )
}

describe("any signal that is accepted", () => {
  it("reads back equal", () =>
    fc.assert(
      fc.asyncProperty(fc.array(goodSignal, { minLength: 1, maxLength: 20 }), async (signals) => {
        const conversation = freshConversation()
        const response = await postBatch({
          signals: signals.map((signal) => ({ ...signal, context_window_id: conversation })),
        })
        const answer = (await response.json()) as BatchAnswer
        expect(answer.failed_count).toBe(0)
        const page = (await (
          await send(`/api/signals?context_window_id=${conversation}&limit=1000`)
        ).json()) as {
          signals: StoredSignal[]
        }
        const byId = new Map(page.signals.map((signal) => [signal.id, signal]))
        for (const { index, signal_id } of answer.results) {
          const stored = byId.get(signal_id ?? 0)
          expect(sorted(comparable(stored))).toMatchObject(sorted(comparable(signals[index])) as object)
        }
      }),
      { numRuns: 60 },
    ))
})

describe("the results of any batch", () => {
  it("line up with its signals, valid and invalid, new and duplicate", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ bad: fc.boolean(), key: fc.option(fc.integer({ min: 0, max: 5 })) }), {
          minLength: 1,
          maxLength: 60,
        }),
        async (drawn) => {
          const conversation = freshConversation()
          const signals = drawn.map(({ bad, key }, index) => ({
            context_window_id: conversation,
            signal_score: bad ? 2 : 1,
            raw_content: key === null ? `index ${index}` : `key ${key}`,
            dedupe_key: key === null ? null : `${conversation}-${key}`,
          }))
          const answer = (await (await postBatch({ signals })).json()) as BatchAnswer
          expect(answer.results.map(({ index }) => index)).toEqual(signals.map((_, index) => index))
          expect(answer.results.map(({ success }) => success)).toEqual(drawn.map(({ bad }) => !bad))
          const rows = await query<{ id: string; raw_content: string }>(
            "select id, raw_content from signals where context_window_id = $1",
            [conversation],
          )
          const contentOf = new Map(rows.map(({ id, raw_content }) => [Number(id), raw_content]))
          const successes = answer.results.filter(({ success }) => success)
          expect(successes.map(({ signal_id }) => contentOf.get(signal_id ?? 0))).toEqual(
            successes.map(({ index }) => signals[index]?.raw_content),
          )
          const distinct = new Set(
            signals.filter(({ signal_score }) => signal_score === 1).map(({ raw_content }) => raw_content),
          )
          expect(rows).toHaveLength(distinct.size)
        },
      ),
      { numRuns: 60 },
    ))
})

/** JSON of every kind, much of it close to a batch. */
const anything = fc.oneof(
  fc.jsonValue(),
  fc.record({ signals: fc.jsonValue(), fail_on_error: fc.jsonValue() }, { requiredKeys: [] }),
  fc.record({
    signals: fc.array(
      fc.oneof(
        fc.jsonValue(),
        fc.dictionary(
          fc.constantFrom(
            "context_window_id",
            "timestamp",
            "payload",
            "signal_score",
            "escalate_flag",
            "dedupe_key",
          ),
          fc.jsonValue(),
        ),
      ),
    ),
  }),
)

describe("any JSON", () => {
  it("never gets a 5xx, and stores exactly what the answer says", () =>
    fc.assert(
      fc.asyncProperty(anything, fc.boolean(), async (body, allOrNothing) => {
        const before = await totals()
        const response = await app.request(
          `/api/signals/batch?fail_on_error=${allOrNothing}`,
          {
            method: "POST",
            headers: { "Content-Type": "application/json", Authorization: `Bearer ${KEY}` },
            body: JSON.stringify(body),
          },
          { ...bindings, API_KEYS },
        )
        expect([200, 400, 422]).toContain(response.status)
        const answer = (await response.json()) as Partial<BatchAnswer>
        const stored = answer.results?.filter(({ success, duplicate }) => success && !duplicate).length ?? 0
        expect(await totals()).toEqual({
          batches: before.batches + (answer.transaction_id ? 1 : 0),
          signals: before.signals + stored,
          torn: 0,
        })
      }),
      { numRuns: 300 },
    ))

  it("never gets a 5xx for bytes that are not JSON either", () =>
    fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ maxLength: 200 }),
        fc.constantFrom("application/json", "application/x-ndjson"),
        fc.constantFrom("identity", "gzip", "deflate", "br", "zstd"),
        async (body, type, encoding) => {
          const response = await send("/api/signals/batch", {
            method: "POST",
            headers: { "Content-Type": type, "Content-Encoding": encoding },
            body,
          })
          expect(response.status).toBeLessThan(500)
        },
      ),
      { numRuns: 300 },
    ))

  it("is answered when it nests a hundred thousand levels, at any position", async () => {
    const deep = `${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}`
    const conversation = freshConversation()
    const bodies = [
      deep,
      `{"signals":${deep}}`,
      `{"signals":[{"context_window_id":${deep}}]}`,
      `{"signals":[],"unknown":${deep}}`,
    ]
    for (const body of bodies) expect((await postBatch(body)).status).toBeLessThan(500)
    const response = await postBatch(
      `{"signals":[{"context_window_id":"${conversation}","payload":${deep}},{"context_window_id":"${conversation}"}]}`,
    )
    expect(await response.json()).toMatchObject({
      successful_count: 1,
      results: [{ error: "payload must not nest deeper than 64 levels" }, { success: true }],
    })
    expect(await countOf(conversation)).toBe(1)
  })
})

/** A caller of its own, so that what other tests store meanwhile does not count. */
const KEY = crypto.randomUUID()
const CALLER = `property-${KEY}`
const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(KEY))
const API_KEYS = JSON.stringify([
  { name: CALLER, sha256: new Uint8Array(digest).toHex(), scopes: ["ingest"] },
])

interface Totals {
  batches: number
  signals: number
  /**
   * Signals of a batch that the ledger does not know. The service's batches have a UUIDv7, what other tests
   * insert themselves a UUIDv4.
   */
  torn: number
}

async function totals(): Promise<Totals> {
  const [row] = await query<Totals>(
    `select
      (select count(*)::int4 from batches where caller = $1) as batches,
      (select count(*)::int4 from signals join batches using (transaction_id) where caller = $1) as signals,
      (select count(*)::int4 from signals where uuid_extract_version(transaction_id) = 7
        and not exists (select from batches where batches.transaction_id = signals.transaction_id)) as torn`,
    [CALLER],
  )
  if (!row) throw new Error("a count has no row")
  return row
}
