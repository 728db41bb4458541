import {
  BATCH_ROUTE,
  COLUMNS,
  DATASET,
  INGEST_ROUTES,
  OUTCOMES,
  type Outcome,
  STORED_NOTHING,
  STORED_WHOLE,
  STORING_ROUTES,
} from "./point.ts"

/** Seconds since the epoch, or what another program puts in their place, such as a variable of Grafana. */
type Seconds = number | string

/** From and to; `since` included, `until` not. */
export interface Span {
  since: Seconds
  until: Seconds
}

/** Every point stands for `_sample_interval` requests, since Analytics Engine samples: each count and sum is weighted by it. */
const REQUESTS = "sum(_sample_interval)"
const weighted = (column: string) => `sum(_sample_interval * ${column})`
/** The value at a rank, no interpolation: exact as long as nothing was sampled away. */
const percentile = (level: number) => `quantileExactWeighted(${level})(${COLUMNS.latencyMs}, _sample_interval)`

const SIGNALS = `${weighted(COLUMNS.successes)} AS signals_created, ${weighted(COLUMNS.failures)} AS signals_failed`

const FIGURES = [
  `${REQUESTS} AS requests`,
  `sumIf(_sample_interval, ${COLUMNS.route} = '${BATCH_ROUTE}') AS batches`,
  SIGNALS,
  `${percentile(0.5)} AS p50`,
  `${percentile(0.95)} AS p95`,
  `${percentile(0.99)} AS p99`,
  ...OUTCOMES.map((outcome) => `sumIf(_sample_interval, ${COLUMNS.outcome} = '${outcome}') AS ${outcome}`),
].join(", ")

const within = ({ since, until }: Span) => `timestamp >= toDateTime(${since}) AND timestamp < toDateTime(${until})`
const isOneOf = (routes: readonly string[]) => `${COLUMNS.route} IN (${routes.map((route) => `'${route}'`).join(", ")})`
const INGEST = isOneOf(INGEST_ROUTES)
const stepOf = (stepSeconds: Seconds) => `toUnixTimestamp(toStartOfInterval(timestamp, INTERVAL '${stepSeconds}' SECOND)) AS time`

export const totalsQuery = (span: Span) => `SELECT ${FIGURES} FROM ${DATASET} WHERE ${within(span)} AND ${INGEST}`

export const seriesQuery = (span: Span, stepSeconds: Seconds) =>
  `SELECT ${stepOf(stepSeconds)}, ${FIGURES} FROM ${DATASET} WHERE ${within(span)} AND ${INGEST} GROUP BY time ORDER BY time`

/** Signals stored and failed by whatever way: the runs of the queue's consumer are no requests, so nothing else of them counts. */
export const signalsQuery = (span: Span, stepSeconds: Seconds) =>
  `SELECT ${stepOf(stepSeconds)}, ${SIGNALS} FROM ${DATASET} WHERE ${within(span)} AND ${isOneOf(STORING_ROUTES)} ` +
  "GROUP BY time ORDER BY time"

/** What webhooks brought and was not to be stored, by kind. */
export const skippedQuery = (span: Span) =>
  `SELECT ${COLUMNS.route} AS route, ${COLUMNS.kind} AS kind, ${weighted(COLUMNS.skipped)} AS events FROM ${DATASET} ` +
  `WHERE ${within(span)} AND ${COLUMNS.skipped} > 0 GROUP BY route, kind ORDER BY events DESC, route, kind`

export const byOutcomeQuery = (span: Span) =>
  `SELECT ${COLUMNS.outcome} AS name, ${FIGURES} FROM ${DATASET} WHERE ${within(span)} AND ${INGEST} ` +
  "GROUP BY name ORDER BY requests DESC"

export const byRouteQuery = (span: Span) =>
  `SELECT ${COLUMNS.route} AS name, ${FIGURES} FROM ${DATASET} WHERE ${within(span)} GROUP BY name ORDER BY requests DESC`

const shareOf = (outcomes: readonly Outcome[]) =>
  `sumIf(_sample_interval, ${COLUMNS.outcome} IN (${outcomes.map((outcome) => `'${outcome}'`).join(", ")})) / ${REQUESTS}`

/** The rates alone, for those who ask Analytics Engine themselves. Of no requests at all they are no numbers. */
export const ratesQuery = (span: Span) =>
  `SELECT ${shareOf(STORED_WHOLE)} AS success_rate, ${shareOf(STORED_NOTHING)} AS error_rate FROM ${DATASET} WHERE ${within(span)} AND ${INGEST}`

/** Upper bounds in seconds of the histogram's buckets, as Prometheus' clients have them, and some for large batches. */
export const LATENCY_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export const countersQuery = (span: Span) =>
  `SELECT ${COLUMNS.route} AS route, ${COLUMNS.outcome} AS outcome, ${REQUESTS} AS requests, ${SIGNALS}, ` +
  `${weighted(COLUMNS.latencyMs)} AS latency_ms, ` +
  LATENCY_BUCKETS.map((bound, place) => `sumIf(_sample_interval, ${COLUMNS.latencyMs} <= ${bound * 1000}) AS le_${place}`).join(
    ", ",
  ) +
  ` FROM ${DATASET} WHERE ${within(span)} GROUP BY route, outcome ORDER BY route, outcome`
