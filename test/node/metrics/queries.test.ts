import { beforeAll, describe, expect, it } from "vitest"
import { INGEST_ROUTES, MIXED, OUTCOMES, PART_ROUTE, STORING_ROUTES } from "../../../src/metrics/points.ts"
import {
  breakdownQuery,
  byCodeQuery,
  byOutcomeQuery,
  byRouteQuery,
  bySourceQuery,
  countersQuery,
  firstPointQuery,
  LATENCY_BUCKETS,
  NEVER,
  ratesQuery,
  seriesQuery,
  totalsQuery,
} from "../../../src/metrics/queries.ts"
import { useAnalytics } from "../../setup/hooks/analytics.ts"
import { BEGIN, randomPoints, type Seeded, SPAN, seed } from "../local/analytics/points.ts"

const analytics = useAnalytics()
const { answer, data, empty } = analytics

const STEP = 300

const isWithin = ({ second }: Seeded) => second >= SPAN.since && second < SPAN.until
const isIngest = ({ route }: Seeded) => INGEST_ROUTES.includes(route)
const isPart = ({ route }: Seeded) => route === PART_ROUTE
const isStored = ({ route }: Seeded) => STORING_ROUTES.includes(route)
const hasFailed = ({ code }: Seeded) => code !== ""
const total = (points: readonly Seeded[], of: (point: Seeded) => number) =>
  points.reduce((sum, point) => sum + of(point), 0)
const count = (points: readonly Seeded[], when: (point: Seeded) => boolean) =>
  String(points.filter(when).length)

/** The first value at which as many points as `level` asks for have been passed. */
function percentile(points: readonly Seeded[], level: number): number | null {
  const sorted = points.map(({ latencyMs }) => latencyMs).sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(level * sorted.length) - 1)] ?? null
}

const figures = (points: readonly Seeded[]) => ({
  requests: String(points.length),
  batches: count(points, ({ route }) => route === "POST /api/signals/batch"),
  signals_created: total(points, ({ successes }) => successes),
  signals_failed: total(points, ({ failures }) => failures),
  signals_duplicate: total(points, ({ duplicates }) => duplicates),
  p50: percentile(points, 0.5),
  p95: percentile(points, 0.95),
  p99: percentile(points, 0.99),
  ...Object.fromEntries(OUTCOMES.map((name) => [name, count(points, ({ outcome }) => outcome === name)])),
})

const groups = (points: readonly Seeded[], by: (point: Seeded) => string | number) => Map.groupBy(points, by)
const byName = (rows: Record<string, unknown>[]) =>
  rows.toSorted((a, b) => (String(a.name) < String(b.name) ? -1 : 1))

describe("the queries of the metrics", () => {
  const points = randomPoints(3000)
  const inSpan = points.filter(isWithin)
  beforeAll(async () => {
    await empty()
    await seed(analytics, points)
  })

  it("count the signals of the routes", async () =>
    expect(await data(totalsQuery(SPAN))).toEqual([figures(inSpan.filter(isIngest))]))

  it("have totals for each step, in order", async () => {
    const steps = groups(inSpan.filter(isIngest), ({ second }) => Math.floor(second / STEP) * STEP)
    const expected = [...steps]
      .sort(([a], [b]) => Number(a) - Number(b))
      .map(([time, own]) => ({ time, ...figures(own) }))
    expect(await data(seriesQuery(SPAN, STEP))).toEqual(expected)
  })

  it("have totals for each outcome and each route, the most frequent first", async () => {
    for (const [query, by, own] of [
      [byOutcomeQuery, ({ outcome }: Seeded) => outcome, inSpan.filter(isIngest)],
      [byRouteQuery, ({ route }: Seeded) => route, inSpan.filter((point) => !isPart(point))],
    ] as const) {
      const rows = await data(query(SPAN))
      const expected = [...groups(own, by)].map(([name, some]) => ({ name, ...figures(some) }))
      expect(byName(rows)).toEqual(byName(expected))
      const requests = rows.map((row) => Number(row.requests))
      expect(requests).toEqual(requests.toSorted((a, b) => b - a))
    }
  })

  it("count for Prometheus", async () => {
    const rows = await data(countersQuery(SPAN))
    const nameOf = ({ route, outcome, code }: Pick<Seeded, "route" | "outcome" | "code">) =>
      [route, outcome, code].join("\n")
    const expected = [...groups(inSpan, nameOf)].sort(([a], [b]) => (a < b ? -1 : 1))
    expect(rows.map((row) => nameOf(row as unknown as Seeded))).toEqual(expected.map(([name]) => name))
    for (const [index, [, own]] of expected.entries()) {
      const { latency_ms, ...row } = rows[index] ?? {}
      expect(row).toMatchObject({
        requests: String(own.length),
        signals_created: total(own, ({ successes }) => successes),
        ...Object.fromEntries(
          LATENCY_BUCKETS.map((s, at) => [`le_${at}`, count(own, ({ latencyMs }) => latencyMs <= s * 1000)]),
        ),
      })
      expect(latency_ms).toBeCloseTo(
        total(own, ({ latencyMs }) => latencyMs),
        6,
      )
    }
  })

  it("count stored signals by source and failed ones by code, from the parts where a point has several", async () => {
    const counted = inSpan.filter((point) => isStored(point) || isPart(point))
    const ofOneSource = (points: readonly Seeded[]) =>
      points.filter((point) => point.source !== MIXED || isPart(point))
    const ofOneCode = (points: readonly Seeded[]) => points.filter(({ code }) => code !== MIXED)
    const cells = groups(
      counted.filter((point) => point.successes > 0 || hasFailed(point)),
      ({ second, source, code }) => JSON.stringify([Math.floor(second / STEP) * STEP, source, code]),
    )
    const rows = await data(breakdownQuery(SPAN, STEP))
    const byCell = rows.map(({ time, source, code, ...counts }) => [
      JSON.stringify([time, source, code]),
      counts,
    ])
    expect(Object.fromEntries(byCell)).toEqual(
      Object.fromEntries(
        [...cells].map(([cell, points]) => [
          cell,
          {
            failed_requests: count(ofOneCode(points), hasFailed),
            signals_failed: total(ofOneCode(points), ({ failures }) => failures),
            signals_created: total(ofOneSource(points), ({ successes }) => successes),
          },
        ]),
      ),
    )
    expect(byName(await data(byCodeQuery(SPAN)))).toEqual(
      byName(
        [...groups(ofOneCode(counted).filter(hasFailed), ({ code }) => code)].map(([name, points]) => ({
          name,
          failed_requests: String(points.length),
          signals_failed: total(points, ({ failures }) => failures),
        })),
      ),
    )
    const sources = groups(
      ofOneSource(counted).filter(({ successes }) => successes > 0),
      ({ source }) => source,
    )
    expect(byName(await data(bySourceQuery(SPAN)))).toEqual(
      byName(
        [...sources].map(([name, points]) => ({
          name,
          signals_created: total(points, ({ successes }) => successes),
        })),
      ),
    )
  })

  it("have the time of the first request, and of the first that sent signals", async () => {
    const first = (some: readonly Seeded[]) => Math.min(...some.map(({ second }) => second))
    expect(await data(firstPointQuery(BEGIN + 3600))).toEqual([
      { first: first(points), first_stored: first(points.filter(isStored)) },
    ])
    await empty()
    await seed(
      analytics,
      points.filter(({ route }) => route.startsWith("GET")),
    )
    expect(await data(firstPointQuery(BEGIN + 3600))).toMatchObject([{ first_stored: NEVER }])
    await empty()
    await seed(analytics, points)
  })

  it("return no row without requests, since a percentile of nothing is not a number", async () => {
    const nothing = { since: BEGIN + 10_000, until: BEGIN + 20_000 }
    for (const query of [
      totalsQuery(nothing),
      ratesQuery(nothing),
      seriesQuery(nothing, STEP),
      byOutcomeQuery(nothing),
      byRouteQuery(nothing),
      countersQuery(nothing),
      breakdownQuery(nothing, STEP),
      byCodeQuery(nothing),
      bySourceQuery(nothing),
    ])
      expect(await answer(query)).toMatchObject({ data: [], rows: 0, rows_before_limit_at_least: 0 })
  })
})
