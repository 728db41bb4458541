import { afterEach, describe, expect, it, vi } from "vitest"
import { app } from "../../../../src/app.ts"
import type { Bindings } from "../../../../src/bindings.ts"
import { COLUMNS, type DataPoint } from "../../../../src/metrics/points.ts"
import { bindings, freshConversation, TOO_LONG_FOR_POSTGRES } from "../../service.ts"

/** The points that a request wrote to the dataset, by field; they are written after its answer. */
async function pointsOf(path: string, init: RequestInit, settings: Partial<Bindings> = {}, expected = 1) {
  const points: DataPoint[] = []
  const METRICS = { writeDataPoint: (point: DataPoint) => void points.push(point) }
  const response = await app.request(path, init, { ...bindings, METRICS, ...settings })
  await expect.poll(() => points.length).toBe(expected)
  const read = points.map(({ blobs, doubles }) =>
    Object.fromEntries(
      Object.entries(COLUMNS).map(([field, column]) => {
        const index = Number(column.replace(/\D+/, "")) - 1
        return [field, column.startsWith("blob") ? blobs[index] : doubles[index]]
      }),
    ),
  )
  return { response, points: read }
}

const post = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  headers: { "Content-Type": "application/json", ...headers },
  body: typeof body === "string" ? body : JSON.stringify(body),
})

const good = () => ({ context_window_id: freshConversation(), signal_source: "Slack" })
const bad = () => ({ ...good(), signal_score: 2 })
const BATCH = "/api/signals/batch"
const ROUTE = `POST ${BATCH}`

describe("the data point of a request", () => {
  it("names route, mode, outcome, caller, source, counts, time, bytes and database attempts of a batch", async () => {
    const body = JSON.stringify({ signals: [good(), bad(), good()] })
    const { points } = await pointsOf(BATCH, post(body))
    expect(points).toEqual([
      {
        route: ROUTE,
        mode: "best_effort",
        outcome: "partly_stored",
        status: "200",
        caller: "anonymous",
        source: "Slack",
        total: 3,
        successes: 2,
        failures: 1,
        latencyMs: expect.any(Number),
        databaseMs: expect.any(Number),
        bytes: body.length,
        databaseAttempts: 1,
        kind: "",
        code: "out_of_range",
        skipped: 0,
        waiting: 0,
        duplicates: 0,
      },
    ])
  })

  it("calls the source of a batch mixed when its signals differ, and has a part for each, with the new signals", async () => {
    const known = { ...good(), dedupe_key: crypto.randomUUID() }
    await pointsOf(BATCH, post({ signals: [known] }))
    const kafka = { ...good(), signal_source: "Kafka" }
    const { points } = await pointsOf(BATCH, post({ signals: [good(), kafka, known, kafka] }), {}, 3)
    expect(points).toEqual([
      expect.objectContaining({ source: "mixed", outcome: "stored", successes: 3, duplicates: 1, code: "" }),
      expect.objectContaining({
        route: "PART",
        outcome: "stored",
        source: "Kafka",
        successes: 2,
        failures: 0,
        total: 0,
      }),
      expect.objectContaining({
        route: "PART",
        outcome: "stored",
        source: "Slack",
        successes: 1,
        failures: 0,
        total: 0,
      }),
    ])
  })

  it("has a part for each code, those of the database included, when its failures differ", async () => {
    const refused = `{"context_window_id": "${freshConversation()}", "signal_source": "Slack", "payload": {"n": ${TOO_LONG_FOR_POSTGRES}}}`
    const signals = [JSON.stringify(bad()), JSON.stringify(bad()), refused, JSON.stringify(good())]
    const { points } = await pointsOf(BATCH, post(`{"signals": [${signals}]}`), {}, 3)
    expect(points).toEqual([
      expect.objectContaining({ outcome: "partly_stored", code: "mixed", failures: 3 }),
      expect.objectContaining({ route: "PART", code: "out_of_range", failures: 2, successes: 0 }),
      expect.objectContaining({ route: "PART", code: "refused_by_database", failures: 1, successes: 0 }),
    ])
  })

  it("counts the signals that failed with an all-or-nothing batch under the batch's code, and the others under their own", async () => {
    const { points } = await pointsOf(
      BATCH,
      post({ signals: [good(), bad(), good()], fail_on_error: true }),
      {},
      3,
    )
    expect(points.map(({ code, failures }) => [code, failures])).toEqual([
      ["mixed", 3],
      ["batch_rejected", 2],
      ["out_of_range", 1],
    ])
  })

  it("counts a batch that is sent again as replayed, and its signals once", async () => {
    const key = { "Idempotency-Key": crypto.randomUUID() }
    const batch = post({ signals: [good(), bad()] }, key)
    expect((await pointsOf(BATCH, batch)).points[0]).toMatchObject({
      outcome: "partly_stored",
      successes: 1,
      failures: 1,
    })
    expect((await pointsOf(BATCH, batch)).points[0]).toMatchObject({
      outcome: "replayed",
      successes: 0,
      failures: 0,
    })
  })

  it("counts a duplicate apart from the signals that are stored, on both routes", async () => {
    const signal = { ...good(), dedupe_key: crypto.randomUUID() }
    const { points } = await pointsOf(BATCH, post({ signals: [signal, signal, bad(), good()] }))
    expect(points[0]).toMatchObject({
      outcome: "partly_stored",
      total: 4,
      successes: 2,
      duplicates: 1,
      failures: 1,
    })
    const single = await pointsOf("/api/signals", post(signal))
    expect(single.points[0]).toMatchObject({
      outcome: "stored",
      total: 1,
      successes: 0,
      duplicates: 1,
      failures: 0,
    })
  })

  it.each<[string, number, () => RequestInit, Partial<Bindings>, object]>([
    [
      "an all-or-nothing batch with a bad signal",
      400,
      () => post({ signals: [bad(), bad()], fail_on_error: true }),
      {},
      {
        outcome: "rejected",
        mode: "all_or_nothing",
        total: 2,
        successes: 0,
        failures: 2,
        code: "out_of_range",
      },
    ],
    [
      "too many signals",
      413,
      () => post({ signals: [good(), good()] }),
      { MAX_SIGNALS: "1" },
      { outcome: "too_large", code: "too_many_signals" },
    ],
    [
      "the wrong shape",
      422,
      () => post({ signals: [{}] }),
      {},
      { outcome: "invalid", total: 0, code: "invalid_request" },
    ],
    [
      "no database",
      503,
      () => post({ signals: [good()] }),
      { DATABASE_HTTP_ENDPOINT: "http://127.0.0.1:9/sql", DATABASE_DEADLINE_MS: "200" },
      { outcome: "in_doubt", total: 1, successes: 0, failures: 0, duplicates: 0, code: "in_doubt" },
    ],
    [
      "no configuration",
      503,
      () => post({ signals: [good()] }),
      { DATABASE_URL: "" },
      { outcome: "unavailable", code: "not_configured" },
    ],
  ])("counts a batch refused for %s (%d) too", async (_, status, init, settings, expected) => {
    const { response, points } = await pointsOf(BATCH, init(), settings)
    expect(response.status).toBe(status)
    expect(points).toEqual([expect.objectContaining({ route: ROUTE, status: String(status), ...expected })])
  })

  it.each([
    ["/api/signals", { route: "GET /api/signals", outcome: "answered", status: "200" }],
    ["/api/signals/0", { route: "GET /api/signals/:id", outcome: "refused", status: "404" }],
    ["/api/signals/stats", { route: "GET /api/signals/stats", outcome: "answered" }],
    ["/api/nowhere", { route: "GET (none)", outcome: "refused", status: "404" }],
  ])("is written for reads, too: GET %s", async (path, expected) => {
    expect((await pointsOf(path, {})).points).toEqual([
      expect.objectContaining({ mode: "", total: 0, ...expected }),
    ])
  })

  it("is written for a single signal", async () => {
    const { points } = await pointsOf("/api/signals", post(good()))
    expect(points[0]).toMatchObject({
      route: "POST /api/signals",
      mode: "single",
      outcome: "stored",
      total: 1,
      successes: 1,
    })
  })

  it.each<[string, number, Partial<Bindings>]>([
    ["nobody's key", 401, { OPEN_ACCESS: "false" }],
    ["an address over its rate", 429, { ADDRESS_RATE_LIMITER: { limit: async () => ({ success: false }) } }],
  ])("is not written for %s (%d), so that a stranger writes none", async (_, status, settings) => {
    const { response, points } = await pointsOf(BATCH, post({ signals: [good()] }), settings, 0)
    expect([response.status, points]).toEqual([status, []])
  })

  it("is not written for a probe", async () => {
    expect((await pointsOf("/healthz", {}, {}, 0)).points).toEqual([])
  })
})

describe("a batch in doubt", () => {
  afterEach(() => vi.restoreAllMocks())

  it("is not counted until the first replay finds it stored", async () => {
    const batch = post({ signals: [good(), bad(), good()] }, { "Idempotency-Key": crypto.randomUUID() })
    const reach = globalThis.fetch
    // The statement runs, and its answer is lost.
    const losing = vi.spyOn(globalThis, "fetch").mockImplementation(async (...request) => {
      await (await reach(...request)).arrayBuffer()
      throw new Error("Network connection lost.")
    })
    const lost = await pointsOf(BATCH, batch, { DATABASE_DEADLINE_MS: "300" })
    expect(losing).toHaveBeenCalled()
    losing.mockRestore()
    expect([lost.response.status, lost.points]).toEqual([
      503,
      [expect.objectContaining({ outcome: "in_doubt", total: 3, successes: 0, failures: 0, duplicates: 0 })],
    ])
    const counts = async () => (await pointsOf(BATCH, batch)).points[0]
    expect(await counts()).toMatchObject({ outcome: "replayed", successes: 2, failures: 1, duplicates: 0 })
    expect(await counts()).toMatchObject({ outcome: "replayed", successes: 0, failures: 0, duplicates: 0 })
  })
})

describe("a dataset that fails", () => {
  it.each<[string, () => void | Promise<void>]>([
    [
      "throws",
      () => {
        throw new TypeError("Maximum of 20 blobs supported.")
      },
    ],
    ["refuses", () => Promise.reject(new Error("Network connection lost."))],
    ["never answers", () => new Promise(() => {})],
  ])("costs no signal when it %s", async (_, writeDataPoint) => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => {})
    const { response } = await pointsOf(
      BATCH,
      post({ signals: [good()] }),
      { METRICS: { writeDataPoint } },
      0,
    )
    expect(await response.json()).toMatchObject({ successful_count: 1 })
    warn.mockRestore()
  })
})
