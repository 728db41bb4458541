import { type AnalyticsSettings, queryAnalytics } from "./analytics.ts"
import {
  BATCH_ROUTE,
  CONSUMER_ROUTE,
  MIXED,
  OTHER_SCORES,
  type Outcome,
  PART_ROUTE,
  STORING_ROUTES,
  SWEEP_ROUTE,
} from "./points.ts"
import { countersQuery, LATENCY_BUCKETS, SCORING_ROUTES, skippedQuery } from "./queries.ts"

type Row = { route: string; outcome: string; code: string } & Record<string, string | number>

const DAY_SECONDS = 24 * 60 * 60

/**
 * The counters of the current UTC day in Prometheus' text format. They are computed from the data points,
 * because a Worker's isolates share no memory. The counters start again from 0 at 00:00 UTC, as `rate` and
 * `increase` allow; a gauge has that time.
 *
 * @param now milliseconds since the epoch
 * @throws {MetricsUnavailable}
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 */
export async function readCounters(settings: AnalyticsSettings | undefined, now: number): Promise<string> {
  const until = Math.floor(now / 1000) + 1
  const since = Math.floor(now / 1000 / DAY_SECONDS) * DAY_SECONDS
  const [rows, skipped] = await Promise.all([
    queryAnalytics<Row>(settings, countersQuery({ since, until })),
    queryAnalytics<Row>(settings, skippedQuery({ since, until })),
  ])
  return exposition(rows, skipped, since)
}

/** @param since when the counters were last 0, in seconds since the epoch */
function exposition(rows: readonly Row[], skipped: readonly Row[], since: number): string {
  const ingest = rows.filter(({ route }) => STORING_ROUTES.includes(route))
  const scores = rows.filter(({ route }) => SCORING_ROUTES.includes(route))
  const failures = failuresByCode(rows)
  const batches = rows.filter(({ route }) => route === BATCH_ROUTE)
  const requests = sum(batches, "requests")
  const ofSweep = (outcome: Outcome) =>
    rows.filter((row) => row.route === SWEEP_ROUTE && row.outcome === outcome)
  return [
    ...header("batch_signals_created_total", "counter", "Signals added to the table since 00:00 UTC."),
    `batch_signals_created_total ${sum(ingest, "signals_created")}`,
    ...header(
      "batch_signals_duplicates_total",
      "counter",
      "Signals whose dedupe_key was stored before, since 00:00 UTC.",
    ),
    `batch_signals_duplicates_total ${sum(ingest, "signals_duplicate")}`,
    ...header(
      "batch_signals_failed_total",
      "counter",
      "Signals that were sent and are not in the table, since 00:00 UTC.",
    ),
    `batch_signals_failed_total ${sum(ingest, "signals_failed")}`,
    ...header(
      "batch_signals_failed_by_code_total",
      "counter",
      "The same by the code of the failure, since 00:00 UTC.",
    ),
    ...failures.map(
      ([code, { signals }]) => `batch_signals_failed_by_code_total{code="${label(code)}"} ${signals}`,
    ),
    ...header(
      "batch_api_failures_total",
      "counter",
      "Requests and runs of the consumer with a failure of a code, since 00:00 UTC.",
    ),
    ...failures.map(([code, { requests }]) => `batch_api_failures_total{code="${label(code)}"} ${requests}`),
    ...header(
      "webhook_events_skipped_total",
      "counter",
      "Webhook records of a kind that is not stored, since 00:00 UTC.",
    ),
    ...skipped.map(
      (row) =>
        `webhook_events_skipped_total{route="${label(row.route)}",kind="${label(String(row.kind))}"} ${sum([row], "events")}`,
    ),
    ...header("signal_ingest_scores_total", "counter", "Late scores since 00:00 UTC by what became of them."),
    ...SCORE_RESULTS.map(
      ([result, name]) => `signal_ingest_scores_total{result="${result}"} ${sum(scores, name)}`,
    ),
    ...header("signal_ingest_sweep_runs_total", "counter", "Runs of the hourly sweep since 00:00 UTC."),
    `signal_ingest_sweep_runs_total ${sum(ofSweep("answered"), "requests")}`,
    ...header("signal_ingest_sweep_failures_total", "counter", "Its steps that failed, since 00:00 UTC."),
    ...ofSweep("error").map(
      (row) => `signal_ingest_sweep_failures_total{step="${label(row.code)}"} ${sum([row], "requests")}`,
    ),
    ...header("batch_api_requests_total", "counter", "Requests since 00:00 UTC by route and outcome."),
    ...requestsByOutcome(rows),
    ...header("batch_api_latency_seconds", "histogram", `Time that ${BATCH_ROUTE} took, since 00:00 UTC.`),
    ...LATENCY_BUCKETS.map(
      (bound, index) => `batch_api_latency_seconds_bucket{le="${bound}"} ${sum(batches, `le_${index}`)}`,
    ),
    `batch_api_latency_seconds_bucket{le="+Inf"} ${requests}`,
    `batch_api_latency_seconds_sum ${sum(batches, "latency_ms") / 1000}`,
    `batch_api_latency_seconds_count ${requests}`,
    ...header("batch_api_counters_reset_timestamp_seconds", "gauge", "When the counters were last 0."),
    `batch_api_counters_reset_timestamp_seconds ${since}`,
    "",
  ].join("\n")
}

const SCORE_RESULTS = [
  ["stored", "signals_created"],
  ["waiting", "scores_waiting"],
  ["duplicate", "signals_duplicate"],
  ["failed", "signals_failed"],
] as const

/** One line for each route and outcome, whatever the codes. */
function requestsByOutcome(rows: readonly Row[]): string[] {
  const others = [CONSUMER_ROUTE, SWEEP_ROUTE, PART_ROUTE, OTHER_SCORES]
  const requests = rows.filter(({ route }) => !others.includes(route))
  const grouped = Map.groupBy(
    requests,
    ({ route, outcome }) => `{route="${label(route)}",outcome="${label(outcome)}"}`,
  )
  return [...grouped].map(([labels, group]) => `batch_api_requests_total${labels} ${sum(group, "requests")}`)
}

/** Failures of requests that send signals; a request with several codes leaves them to its parts. */
function failuresByCode(
  rows: readonly Row[],
): [code: string, counts: { requests: number; signals: number }][] {
  const failed = rows.filter(
    (row) =>
      (STORING_ROUTES.includes(row.route) || row.route === PART_ROUTE) &&
      row.code !== MIXED &&
      row.code !== "",
  )
  return [...Map.groupBy(failed, ({ code }) => code)]
    .map(([code, group]): [string, { requests: number; signals: number }] => [
      code,
      { requests: sum(group, "requests"), signals: sum(group, "signals_failed") },
    ])
    .sort(([a], [b]) => a.localeCompare(b, "en"))
}

const header = (name: string, type: string, help: string) => [
  `# HELP ${name} ${help}`,
  `# TYPE ${name} ${type}`,
]

const sum = (rows: readonly Row[], name: string) =>
  rows.reduce((total, row) => total + Number(row[name] ?? 0), 0)

const label = (text: string) => text.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n")
