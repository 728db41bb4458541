import { type AnalyticsSettings, queryAnalytics } from "./analytics.ts"
import type { FailureLine, Figures, MetricsAnswer, SourceLine, Window } from "./answer.ts"
import { ERRORS, OUTCOMES, type Outcome, RATED, STORING_ROUTES, SUCCESSES } from "./points.ts"
import {
  breakdownQuery,
  byOutcomeQuery,
  byRouteQuery,
  firstPointQuery,
  NEVER,
  type Span,
  scoresQuery,
  seriesQuery,
  signalsQuery,
  skippedQuery,
  totalsQuery,
} from "./queries.ts"

/** Seconds of each window, and of one step of its series. */
const SPANS: Record<Window, { seconds: number; step: number }> = {
  "15m": { seconds: 15 * 60, step: 15 },
  "1h": { seconds: 60 * 60, step: 60 },
  "24h": { seconds: 24 * 60 * 60, step: 15 * 60 },
  "7d": { seconds: 7 * 24 * 60 * 60, step: 2 * 60 * 60 },
}

/** A row of any of the queries. A percentile over no requests is null. */
type Row = Record<string, string | number | null>

/**
 * Reads throughput, success rate, error rate and latency of the last `window`: totals, by outcome, by route,
 * and a series without gaps; also signals by source and failures by code.
 *
 * Rates are over the whole window, or over the time since the first request that sent signals where the
 * deployment is younger than the window. Before that request there was nothing to count, though the operator
 * may have opened the dashboard.
 *
 * @param now milliseconds since the epoch
 * @throws {MetricsUnavailable}
 */
export async function readMetrics(
  settings: AnalyticsSettings | undefined,
  window: Window,
  now: number,
): Promise<MetricsAnswer> {
  const { seconds, step } = SPANS[window]
  // Points have whole seconds, and the window includes the current second.
  const until = Math.floor(now / 1000) + 1
  // The window starts with a step, so that the first step of the series is as long as the others.
  const since = Math.floor((until - seconds) / step) * step
  const span: Span = { since, until }
  const [totals, byOutcome, byRoute, series, signals, breakdown, skipped, [scores], [oldest]] =
    await Promise.all([
      queryAnalytics<Row>(settings, totalsQuery(span)),
      queryAnalytics<Row>(settings, byOutcomeQuery(span)),
      queryAnalytics<Row>(settings, byRouteQuery(span)),
      queryAnalytics<Row>(settings, seriesQuery(span, step)),
      queryAnalytics<Row>(settings, signalsQuery(span, step)),
      queryAnalytics<BreakdownRow>(settings, breakdownQuery(span, step)),
      queryAnalytics<Row>(settings, skippedQuery(span)),
      queryAnalytics<Row>(settings, scoresQuery(span)),
      queryAnalytics<Row>(settings, firstPointQuery(until)),
    ])
  const first = Math.max(since, Number(oldest?.first ?? since))
  const firstStored = Number(oldest?.first_stored ?? NEVER)
  const measuredSince = firstStored === NEVER ? first : Math.max(since, firstStored)
  const length = until - measuredSince
  const lengthOf = (route: string) => (STORING_ROUTES.includes(route) ? length : until - first)
  /** The seconds of a step that were measured; a step before the first point has no requests to divide. */
  const secondsOf = (from: number) => {
    const seconds = Math.min(from + step, until) - Math.max(from, measuredSince)
    return seconds > 0 ? seconds : step
  }
  const count = Math.ceil((until - since) / step)
  const timeline = { since, seconds: step, count }
  const steps = new Map(series.map((row) => [Number(row.time), row]))
  // The queue's consumer also stores signals in steps without a request.
  for (const row of signals) steps.set(Number(row.time), { ...steps.get(Number(row.time)), ...row })
  return {
    window,
    since: instant(since),
    until: instant(until),
    measured_since: instant(measuredSince),
    step_seconds: step,
    percentiles: "exact",
    totals: figures(
      { ...totals[0], ...Object.fromEntries(SIGNAL_COUNTS.map((name) => [name, sum(signals, name)])) },
      length,
    ),
    by_outcome: byOutcome.map((row) => ({ outcome: String(row.name) as Outcome, ...figures(row, length) })),
    by_route: byRoute.map(({ name, ...row }) => ({
      route: String(name),
      ...figures(row, lengthOf(String(name))),
    })),
    sources: sourceLines(breakdown, timeline),
    failure_codes: failureLines(breakdown, timeline),
    skipped: skipped.map(({ route, kind, events }) => ({
      route: String(route),
      kind: String(kind),
      events: Number(events),
    })),
    scores: {
      stored: Number(scores?.signals_created ?? 0),
      waiting: Number(scores?.scores_waiting ?? 0),
      duplicate: Number(scores?.signals_duplicate ?? 0),
      failed: Number(scores?.signals_failed ?? 0),
    },
    series: Array.from({ length: count }, (_, index) => {
      const from = since + index * step
      return { time: instant(from), ...figures(steps.get(from), secondsOf(from)) }
    }),
  }
}

const SIGNAL_COUNTS = ["signals_created", "signals_failed", "signals_duplicate"] as const

const sum = (rows: readonly Row[], name: string) =>
  rows.reduce((total, row) => total + Number(row[name] ?? 0), 0)

const instant = (seconds: number) => new Date(seconds * 1000).toISOString()

/** @param seconds the length of the time that `row` covers */
function figures(row: Row = {}, seconds: number): Figures {
  const count = (name: string) => Number(row[name] ?? 0)
  const requests = count("requests")
  const requestsOf = (outcomes: readonly Outcome[]) =>
    outcomes.reduce((sum, outcome) => sum + count(outcome), 0)
  const rated = requestsOf(RATED)
  const share = (outcomes: readonly Outcome[]) => (rated === 0 ? null : requestsOf(outcomes) / rated)
  return {
    requests,
    batches: count("batches"),
    signals_created: count("signals_created"),
    signals_failed: count("signals_failed"),
    signals_duplicate: count("signals_duplicate"),
    requests_per_second: requests / seconds,
    batches_per_second: count("batches") / seconds,
    signals_per_second: count("signals_created") / seconds,
    success_rate: share(SUCCESSES),
    error_rate: share(ERRORS),
    latency_ms: requests === 0 ? null : { p50: count("p50"), p95: count("p95"), p99: count("p99") },
    outcomes: Object.fromEntries(OUTCOMES.map((outcome) => [outcome, count(outcome)])) as Record<
      Outcome,
      number
    >,
  }
}

/** Names listed separately. */
const LINES = 6

/** A row of `breakdownQuery`. */
type BreakdownRow = Record<string, string | number | null>

/** The steps of the answer's series. */
interface Steps {
  /** Seconds since the epoch. */
  since: number
  seconds: number
  count: number
}

interface Line {
  /** Null: of every other name. */
  name: string | null
  /** The sum of each measure, and that of each step. */
  totals: number[]
  steps: number[][]
}

/** Signals stored by source, the most first. */
function sourceLines(rows: readonly BreakdownRow[], steps: Steps): SourceLine[] {
  const lines = linesOf(rows, steps, (row) => String(row.source ?? ""), ["signals_created"])
  return lines.map(({ name, totals: [created = 0], steps: [byStep = []] }) => ({
    source: name,
    signals_created: created,
    signals_created_by_step: byStep,
  }))
}

/** Requests and signals that failed by code, the most requests first. */
function failureLines(rows: readonly BreakdownRow[], steps: Steps): FailureLine[] {
  const lines = linesOf(rows, steps, (row) => String(row.code ?? ""), ["failed_requests", "signals_failed"])
  return lines.map(
    ({ name, totals: [requests = 0, signals = 0], steps: [requestsByStep = [], signalsByStep = []] }) => ({
      code: name,
      requests,
      signals_failed: signals,
      requests_by_step: requestsByStep,
      signals_failed_by_step: signalsByStep,
    }),
  )
}

/** One line for each name, the largest first by the first measure, and one line for all others. */
function linesOf(
  rows: readonly BreakdownRow[],
  { since, seconds, count }: Steps,
  nameOf: (row: BreakdownRow) => string,
  measures: readonly string[],
): Line[] {
  const lines = new Map<string, Line>()
  for (const row of rows) {
    const values = measures.map((measure) => Number(row[measure] ?? 0))
    if (values.every((value) => value === 0)) continue
    const name = nameOf(row)
    const line = lines.get(name) ?? emptyLine(name === "" ? null : name, measures, count)
    lines.set(name, line)
    add(line, (Number(row.time) - since) / seconds, values)
  }
  const sorted = [...lines.values()].sort(
    (a, b) => (b.totals[0] ?? 0) - (a.totals[0] ?? 0) || (a.name ?? "").localeCompare(b.name ?? "", "en"),
  )
  const named = sorted.filter(({ name }) => name !== null)
  const others = [...named.slice(LINES), ...sorted.filter(({ name }) => name === null)]
  if (others.length === 0) return named
  const rest = emptyLine(null, measures, count)
  for (const { steps } of others)
    for (const step of rest.steps[0]?.keys() ?? []) {
      const values = steps.map((line) => line[step] ?? 0)
      add(rest, step, values)
    }
  return [...named.slice(0, LINES), rest]
}

const emptyLine = (name: string | null, measures: readonly string[], count: number): Line => ({
  name,
  totals: measures.map(() => 0),
  steps: measures.map(() => new Array<number>(count).fill(0)),
})

function add({ totals, steps }: Line, step: number, values: readonly number[]): void {
  for (const [measure, value] of values.entries()) {
    totals[measure] = (totals[measure] ?? 0) + value
    const line = steps[measure]
    if (line?.[step] !== undefined) line[step] += value
  }
}
