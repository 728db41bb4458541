import parsePrometheus from "parse-prometheus-text-format"
import { Client } from "pg"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { MetricsAnswer } from "../../../src/metrics/answer.ts"
import { type LocalService, startLocalService } from "../../setup/local-service.ts"
import { seededRandom } from "../../setup/random.ts"

const SEED = Number(process.env.SEED ?? 20_261_123)
const REQUESTS = 300
const DAY_MS = 24 * 60 * 60 * 1000

/** What the client knows of one request by itself: what it sent, and what it was answered. */
interface LogEntry {
  route: string
  outcome: string
  created: number
  failed: number
  /**
   * Signals that failed, by code. A request that failed before its signals were read has the code of the
   * whole and none.
   */
  codes?: Record<string, number>
}

const BATCH = "POST /api/signals/batch"
const SINGLE = "POST /api/signals"
const KAFKA = "POST /webhooks/kafka"
const CONSUMER = "QUEUE signals"
const SUCCESSES = ["stored", "queued", "skipped", "replayed", "answered"]

/** As the README has it: neither a success nor an error is what was stored in part. */
const isError = ({ outcome }: LogEntry) => !SUCCESSES.includes(outcome) && outcome !== "partly_stored"

const sum = (entries: readonly LogEntry[], count: (entry: LogEntry) => number) =>
  entries.reduce((total, entry) => total + count(entry), 0)

function countBy(entries: readonly LogEntry[], name: (entry: LogEntry) => string): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const entry of entries) counts[name(entry)] = (counts[name(entry)] ?? 0) + 1
  return counts
}

describe("the metrics of a run", () => {
  let service: LocalService
  const log: LogEntry[] = []
  /** Signals that the consumer stored later, which is no request. */
  let queued = 0
  /** Signals whose dedupe_key was stored before. */
  let duplicates = 0

  beforeAll(async () => {
    await startOfADayThatLasts()
    service = await startLocalService({ MAX_SIGNALS: "50" })
    await run()
  })
  afterAll(() => service?.stop())

  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    fetch(`${service.address}${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body: JSON.stringify(body),
    })

  async function run(): Promise<void> {
    const random = seededRandom(SEED)
    const upTo = (most: number) => 1 + Math.floor(random() * most)
    const good = (count: number) =>
      Array.from({ length: count }, () => ({
        context_window_id: `conv-${upTo(9)}`,
        signal_source: `source ${upTo(9)}`,
      }))
    const bad = (count: number) => good(count).map((signal) => ({ ...signal, signal_score: 2 }))
    const note = async (sent: Promise<Response>, status: number, entry: LogEntry) => {
      const response = await sent
      expect(response.status).toBe(status)
      await response.arrayBuffer()
      log.push(entry)
    }
    const kinds: (() => Promise<void>)[] = [
      () => {
        const signals = good(upTo(50))
        return note(post("/api/signals/batch", { signals }), 200, {
          route: BATCH,
          outcome: "stored",
          created: signals.length,
          failed: 0,
        })
      },
      () => {
        const [stored, refused] = [good(upTo(20)), bad(upTo(20))]
        const entry = {
          route: BATCH,
          outcome: "partly_stored",
          created: stored.length,
          failed: refused.length,
          codes: { out_of_range: refused.length },
        }
        return note(post("/api/signals/batch", { signals: [...stored, ...refused] }), 200, entry)
      },
      () => {
        const signals = bad(upTo(10))
        return note(post("/api/signals/batch", { signals }), 200, {
          route: BATCH,
          outcome: "rejected",
          created: 0,
          failed: signals.length,
          codes: { out_of_range: signals.length },
        })
      },
      () => {
        const signals = [...good(upTo(10)), ...bad(1)]
        const codes = { out_of_range: 1, batch_rejected: signals.length - 1 }
        const entry = { route: BATCH, outcome: "rejected", created: 0, failed: signals.length, codes }
        return note(post("/api/signals/batch", { signals, fail_on_error: true }), 400, entry)
      },
      () =>
        note(post("/api/signals/batch", { signals: [{}] }), 422, {
          route: BATCH,
          outcome: "invalid",
          created: 0,
          failed: 0,
          codes: { invalid_request: 0 },
        }),
      () =>
        note(post("/api/signals/batch", { signals: good(51) }), 413, {
          route: BATCH,
          outcome: "too_large",
          created: 0,
          failed: 0,
          codes: { too_many_signals: 0 },
        }),
      async () => {
        const signals = good(upTo(5))
        const headers = { "Idempotency-Key": crypto.randomUUID() }
        await note(post("/api/signals/batch", { signals }, headers), 200, {
          route: BATCH,
          outcome: "stored",
          created: signals.length,
          failed: 0,
        })
        await note(post("/api/signals/batch", { signals }, headers), 200, {
          route: BATCH,
          outcome: "replayed",
          created: 0,
          failed: 0,
        })
      },
      () => {
        const again = upTo(5)
        duplicates += again
        const signals = Array.from({ length: again + 1 }, () => ({
          ...good(1)[0],
          dedupe_key: `key-${log.length}`,
        }))
        return note(post("/api/signals/batch", { signals }), 200, {
          route: BATCH,
          outcome: "stored",
          created: 1,
          failed: 0,
        })
      },
      () =>
        note(post("/api/signals", good(1)[0]), 201, {
          route: SINGLE,
          outcome: "stored",
          created: 1,
          failed: 0,
        }),
      () =>
        note(post("/api/signals", bad(1)[0]), 422, {
          route: SINGLE,
          outcome: "invalid",
          created: 0,
          failed: 1,
          codes: { out_of_range: 1 },
        }),
      () =>
        note(fetch(`${service.address}/api/signals?limit=5`), 200, {
          route: "GET /api/signals",
          outcome: "answered",
          created: 0,
          failed: 0,
        }),
      () => {
        const records = good(upTo(20))
        queued += records.length
        return note(post("/webhooks/kafka", records), 200, {
          route: KAFKA,
          outcome: "queued",
          created: 0,
          failed: 0,
        })
      },
      () =>
        note(post("/webhooks/kafka", null), 200, { route: KAFKA, outcome: "skipped", created: 0, failed: 0 }),
    ]
    while (log.length < REQUESTS) await kinds[Math.floor(random() * kinds.length)]?.()
  }

  const ingest = () => log.filter(({ route }) => [BATCH, SINGLE, KAFKA].includes(route))
  /** How many requests and signals failed for each code. */
  const byCode = () => {
    const counts: Record<string, { requests: number; signals: number }> = {}
    for (const [code, failed] of log.flatMap(({ codes = {} }) => Object.entries(codes))) {
      const known = counts[code] ?? { requests: 0, signals: 0 }
      counts[code] = { requests: known.requests + 1, signals: known.signals + failed }
    }
    return counts
  }
  const created = () => sum(log, (entry) => entry.created) + queued
  const failed = () => sum(log, (entry) => entry.failed)

  async function metrics(): Promise<MetricsAnswer> {
    const answer = (await (await fetch(`${service.address}/api/metrics?window=15m`)).json()) as MetricsAnswer
    return answer
  }
  /** The last points are still on their way when the last answer is there. */
  const allThere = () =>
    expect
      .poll(async () => (await metrics()).totals)
      .toMatchObject({ requests: ingest().length, signals_created: created() })

  it(`equal the client's own log exactly (seed ${SEED})`, async () => {
    await allThere()
    const { totals, by_outcome, by_route, series, skipped } = await metrics()
    expect(totals).toMatchObject({
      requests: ingest().length,
      batches: log.filter(({ route }) => route === BATCH).length,
      signals_created: created(),
      signals_failed: failed(),
      signals_duplicate: duplicates,
    })
    expect(totals.success_rate).toBeCloseTo(
      ingest().filter(({ outcome }) => SUCCESSES.includes(outcome)).length / ingest().length,
      12,
    )
    expect(totals.error_rate).toBeCloseTo(ingest().filter(isError).length / ingest().length, 12)
    const outcomes = Object.fromEntries(by_outcome.map(({ outcome, requests }) => [outcome, requests]))
    expect(outcomes).toEqual(countBy(ingest(), ({ outcome }) => outcome))
    const routes = by_route.filter(({ route }) => route !== "GET /api/metrics" && route !== CONSUMER)
    expect(Object.fromEntries(routes.map(({ route, requests }) => [route, requests]))).toEqual(
      countBy(log, ({ route }) => route),
    )
    for (const name of [
      "requests",
      "batches",
      "signals_created",
      "signals_failed",
      "signals_duplicate",
    ] as const)
      expect(
        series.reduce((total, step) => total + step[name], 0),
        name,
      ).toBe(totals[name])
    expect(skipped).toEqual([
      { route: KAFKA, kind: "tombstone", events: log.filter(({ outcome }) => outcome === "skipped").length },
    ])
  })

  it("equal the log by source and by code, also step by step, and in Prometheus' counters", async () => {
    await allThere()
    const { sources, failure_codes, totals, series } = await metrics()
    const client = new Client({ connectionString: service.databaseUrl })
    await client.connect()
    const { rows } = await client.query<{ source: string; count: number }>(
      "select signal_source as source, count(*)::int4 as count from signals group by 1 order by 2 desc, 1",
    )
    await client.end()
    const others = rows.slice(6).reduce((total, row) => total + row.count, 0)
    expect(sources.map(({ source, signals_created }) => [source, signals_created])).toEqual([
      ...rows.slice(0, 6).map((row) => [row.source, row.count]),
      [null, others],
    ])
    expect(
      Object.fromEntries(
        failure_codes.map(({ code, requests, signals_failed: signals }) => [code, { requests, signals }]),
      ),
    ).toEqual(byCode())
    const sumOf = (steps: readonly number[][]) => steps.flat().reduce((total, value) => total + value, 0)
    expect(sumOf(sources.map((line) => line.signals_created_by_step))).toBe(totals.signals_created)
    expect(sumOf(failure_codes.map((line) => line.signals_failed_by_step))).toBe(totals.signals_failed)
    for (const [index, step] of series.entries())
      expect(
        sources.reduce((total, line) => total + (line.signals_created_by_step[index] ?? Number.NaN), 0),
      ).toBe(step.signals_created)

    const { family } = await scrape()
    const counted = (name: string) =>
      Object.fromEntries(family(name).map(({ labels, value }) => [String(labels?.code), Number(value)]))
    const expected = Object.entries(byCode())
    expect(counted("batch_api_failures_total")).toEqual(
      Object.fromEntries(expected.map(([code, { requests }]) => [code, requests])),
    )
    expect(counted("batch_signals_failed_by_code_total")).toEqual(
      Object.fromEntries(expected.map(([code, { signals }]) => [code, signals])),
    )
  })

  it("have rates over the time since the first request that brought signals, however long the dashboard was open before, while the deployment is younger than the window", async () => {
    await allThere()
    const client = new Client({ connectionString: service.databaseUrl })
    await client.connect()
    const { rows } = await client.query<{ first: Date }>(
      "select date_trunc('second', min(timestamp)) as first from local_analytics.points where blob1 = any($1)",
      [[BATCH, SINGLE, KAFKA]],
    )
    // The dashboard was opened twelve minutes before the first batch.
    await client.query(
      `insert into local_analytics.points (timestamp, dataset, index1, blob1, blob3)
       values (now() - interval '12 minutes', 'signal_ingest_requests', '', 'GET /api/metrics', 'answered')`,
    )
    await client.end()
    // The readers share an answer for ten seconds.
    const shared = (await metrics()).until
    await expect.poll(async () => (await metrics()).until).not.toBe(shared)
    const { totals, by_route, since, until, measured_since } = await metrics()
    expect(measured_since).toBe(rows[0]?.first.toISOString())
    expect(Date.parse(measured_since)).toBeGreaterThan(Date.parse(since))
    const seconds = (Date.parse(until) - Date.parse(measured_since)) / 1000
    expect(totals.signals_per_second).toBeCloseTo(totals.signals_created / seconds, 12)
    expect(totals.requests_per_second).toBeCloseTo(totals.requests / seconds, 12)
    // A route that only reads has been in use for longer.
    const reading = by_route.find(({ route }) => route === "GET /api/metrics")
    expect(reading?.requests_per_second).toBeLessThan((reading?.requests ?? 0) / (12 * 60 - 5))
  })

  it("have exact percentiles, and the answer says so", async () => {
    await allThere()
    const client = new Client({ connectionString: service.databaseUrl })
    await client.connect()
    const { rows } = await client.query<{ ms: number }>(
      "select double4 as ms from local_analytics.points where blob1 = any($1) order by double4",
      [[BATCH, SINGLE, KAFKA]],
    )
    await client.end()
    const rank = (level: number) => rows[Math.ceil(rows.length * level) - 1]?.ms
    const { totals, percentiles } = await metrics()
    expect(percentiles).toBe("exact")
    expect(totals.latency_ms).toEqual({ p50: rank(0.5), p95: rank(0.95), p99: rank(0.99) })
  })

  it("have a Prometheus format that a parser reads, and only grow", async () => {
    await allThere()
    const before = await scrape()
    expect(before.value("batch_signals_created_total")).toBe(created())
    expect(before.value("batch_signals_duplicates_total")).toBe(duplicates)
    expect(before.value("batch_signals_failed_total")).toBe(failed())
    const requests = before
      .family("batch_api_requests_total")
      .filter(({ labels }) => labels?.route !== "GET /api/metrics")
    expect(
      Object.fromEntries(
        requests.map(({ labels, value }) => [`${labels?.route} ${labels?.outcome}`, Number(value)]),
      ),
    ).toEqual(countBy(log, ({ route, outcome }) => `${route} ${outcome}`))
    const [histogram] = before.family("batch_api_latency_seconds")
    const batches = log.filter(({ route }) => route === BATCH).length
    expect([Number(histogram?.count), Number(histogram?.buckets?.["+Inf"])]).toEqual([batches, batches])
    const buckets = Object.entries(histogram?.buckets ?? {}).sort(
      ([one], [other]) => Number(one.replace("+", "")) - Number(other.replace("+", "")),
    )
    const counts = buckets.map(([, count]) => Number(count))
    expect(counts).toEqual([...counts].sort((a, b) => a - b))
    expect(before.types()).toEqual({
      batch_signals_created_total: "COUNTER",
      batch_signals_duplicates_total: "COUNTER",
      batch_signals_failed_total: "COUNTER",
      batch_signals_failed_by_code_total: "COUNTER",
      batch_api_failures_total: "COUNTER",
      webhook_events_skipped_total: "COUNTER",
      batch_api_requests_total: "COUNTER",
      batch_api_latency_seconds: "HISTOGRAM",
      batch_api_counters_reset_timestamp_seconds: "GAUGE",
      signal_ingest_sweep_runs_total: "COUNTER",
      signal_ingest_scores_total: "COUNTER",
      signal_ingest_sweep_failures_total: "COUNTER",
      signal_ingest_ready: "GAUGE",
      signal_ingest_dead_letters_waiting: "GAUGE",
      signal_ingest_erasures_running: "GAUGE",
      signal_ingest_feed_lag_seconds: "GAUGE",
      signal_ingest_queue_messages: "GAUGE",
    })
    expect(before.value("batch_api_counters_reset_timestamp_seconds") * 1000).toBe(
      Math.floor(Date.now() / DAY_MS) * DAY_MS,
    )

    expect((await post("/api/signals/batch", { signals: [{ context_window_id: "one more" }] })).status).toBe(
      200,
    )
    await expect.poll(async () => (await scrape()).value("batch_signals_created_total")).toBe(created() + 1)
  })

  async function scrape() {
    const response = await fetch(`${service.address}/metrics`)
    expect(response.headers.get("Content-Type")).toBe("text/plain; version=0.0.4; charset=utf-8")
    const families = parsePrometheus(await response.text())
    const family = (name: string) => families.find((one) => one.name === name)?.metrics ?? []
    return {
      family,
      value: (name: string) => Number(family(name)[0]?.value),
      types: () => Object.fromEntries(families.map(({ name, type }) => [name, type])),
    }
  }
})

/** The counters are those of the current UTC day: a run that would see it end begins with the next. */
async function startOfADayThatLasts(): Promise<void> {
  const leftMs = DAY_MS - (Date.now() % DAY_MS)
  if (leftMs < 90_000) await new Promise((resolve) => setTimeout(resolve, leftMs + 1000))
}
