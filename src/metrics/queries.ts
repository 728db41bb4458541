import {
  BATCH_ROUTE,
  COLUMNS,
  DATASET,
  ERRORS,
  INGEST_ROUTES,
  MIXED,
  OTHER_SCORES,
  OUTCOMES,
  type Outcome,
  PART_ROUTE,
  RATED,
  SCORES_ROUTE,
  STORING_ROUTES,
  SUCCESSES,
  SWEEP_ROUTE,
} from "./points.ts"

/** Seconds since the epoch, or a placeholder that another program replaces, such as a variable of Grafana. */
type Seconds = number | string

/** `since` is included, `until` is not. */
export interface Span {
  since: Seconds
  until: Seconds
}

/**
 * Analytics Engine samples, so a point stands for `_sample_interval` requests. Every count and sum has this
 * weight.
 */
const REQUESTS = "sum(_sample_interval)"
const weighted = (column: string) => `sum(_sample_interval * ${column})`
/** The value at a rank, without interpolation. It is exact while Analytics Engine does not sample. */
const percentile = (level: number) =>
  `quantileExactWeighted(${level})(${COLUMNS.latencyMs}, _sample_interval)`

const SIGNALS = [
  `${weighted(COLUMNS.successes)} AS signals_created`,
  `${weighted(COLUMNS.failures)} AS signals_failed`,
  `${weighted(COLUMNS.duplicates)} AS signals_duplicate`,
].join(", ")

const SCORES = `${SIGNALS}, ${weighted(COLUMNS.waiting)} AS scores_waiting`

const FIGURES = [
  `${REQUESTS} AS requests`,
  `sumIf(_sample_interval, ${COLUMNS.route} = '${BATCH_ROUTE}') AS batches`,
  SIGNALS,
  `${percentile(0.5)} AS p50`,
  `${percentile(0.95)} AS p95`,
  `${percentile(0.99)} AS p99`,
  ...OUTCOMES.map((outcome) => `sumIf(_sample_interval, ${COLUMNS.outcome} = '${outcome}') AS ${outcome}`),
].join(", ")

const within = ({ since, until }: Span) =>
  `timestamp >= toDateTime(${since}) AND timestamp < toDateTime(${until})`
const isOneOf = (column: string, names: readonly string[]) =>
  `${column} IN (${names.map((name) => `'${name}'`).join(", ")})`
const INGEST = isOneOf(COLUMNS.route, INGEST_ROUTES)
const stepOf = (stepSeconds: Seconds) =>
  `toUnixTimestamp(toStartOfInterval(timestamp, INTERVAL '${stepSeconds}' SECOND)) AS time`

/**
 * GROUP BY, so that there is no row without requests: a percentile over no rows is NaN, which JSON cannot
 * hold.
 */
export const totalsQuery = (span: Span) =>
  `SELECT ${FIGURES} FROM ${DATASET} WHERE ${within(span)} AND ${INGEST} GROUP BY dataset`

export const seriesQuery = (span: Span, stepSeconds: Seconds) =>
  `SELECT ${stepOf(stepSeconds)}, ${FIGURES} FROM ${DATASET} WHERE ${within(span)} AND ${INGEST} GROUP BY time ORDER BY time`

/** Signals by outcome, on every route that stores, the queue's consumer included. */
export const signalsQuery = (span: Span, stepSeconds: Seconds) =>
  `SELECT ${stepOf(stepSeconds)}, ${SIGNALS} FROM ${DATASET} WHERE ${within(span)} AND ${isOneOf(COLUMNS.route, STORING_ROUTES)} ` +
  "GROUP BY time ORDER BY time"

/** The routes whose counts are of scores. */
export const SCORING_ROUTES: readonly string[] = [SCORES_ROUTE, OTHER_SCORES]

/** Scores by what became of them. There is no row without any. */
export const scoresQuery = (span: Span) =>
  `SELECT ${SCORES} FROM ${DATASET} WHERE ${within(span)} AND ${isOneOf(COLUMNS.route, SCORING_ROUTES)} GROUP BY dataset`

/** The largest time of ClickHouse. */
export const NEVER = 4294967295

/**
 * The times of the oldest data point, and of the oldest point of a route that stores, in seconds since the
 * epoch; `NEVER` when there is none. There is no row without points.
 */
export const firstPointQuery = (until: Seconds) =>
  `SELECT min(toUnixTimestamp(timestamp)) AS first, ` +
  `min(if(${isOneOf(COLUMNS.route, STORING_ROUTES)}, toUnixTimestamp(timestamp), ${NEVER})) AS first_stored ` +
  `FROM ${DATASET} WHERE timestamp < toDateTime(${until}) GROUP BY dataset`

const IS_PART = `${COLUMNS.route} = '${PART_ROUTE}'`
const HAS_ONE_SOURCE = `(${COLUMNS.source} != '${MIXED}' OR ${IS_PART})`
const FAILED = `${COLUMNS.code} != ''`
const HAS_ONE_CODE = `${COLUMNS.code} != '${MIXED}'`

const BY_CODE = [
  `sumIf(_sample_interval, ${FAILED} AND ${HAS_ONE_CODE}) AS failed_requests`,
  `sumIf(_sample_interval * ${COLUMNS.failures}, ${HAS_ONE_CODE}) AS signals_failed`,
].join(", ")
const BY_SOURCE = `sumIf(_sample_interval * ${COLUMNS.successes}, ${HAS_ONE_SOURCE}) AS signals_created`

const STORING_OR_PART = isOneOf(COLUMNS.route, [...STORING_ROUTES, PART_ROUTE])

/** The most rows. A sender can send many sources; the smallest are left out. */
const MAX_ROWS = 5000

/**
 * Stored signals by source, and failed signals and requests (or runs of the consumer) by code. A point with
 * several names of a kind is counted by its parts.
 */
export const breakdownQuery = (span: Span, stepSeconds: Seconds) =>
  `SELECT ${stepOf(stepSeconds)}, ${COLUMNS.source} AS source, ${COLUMNS.code} AS code, ${BY_CODE}, ${BY_SOURCE} FROM ${DATASET} ` +
  `WHERE ${within(span)} AND ${STORING_OR_PART} AND (${COLUMNS.successes} > 0 OR ${FAILED}) ` +
  `GROUP BY time, source, code ORDER BY failed_requests DESC, signals_created DESC, time, source, code LIMIT ${MAX_ROWS}`

/** The same codes as a table, for programs that query Analytics Engine themselves. */
export const byCodeQuery = (span: Span) =>
  `SELECT ${COLUMNS.code} AS name, ${BY_CODE} FROM ${DATASET} WHERE ${within(span)} AND ${STORING_OR_PART} AND ${FAILED} ` +
  `AND ${HAS_ONE_CODE} GROUP BY name ORDER BY failed_requests DESC, name LIMIT 100`

/** The same sources as a table. */
export const bySourceQuery = (span: Span) =>
  `SELECT ${COLUMNS.source} AS name, ${BY_SOURCE} FROM ${DATASET} WHERE ${within(span)} AND ${STORING_OR_PART} ` +
  `AND ${COLUMNS.successes} > 0 AND ${HAS_ONE_SOURCE} GROUP BY name ORDER BY signals_created DESC, name LIMIT 100`

/** Webhook records of kinds that are not stored, by kind. */
export const skippedQuery = (span: Span) =>
  `SELECT ${COLUMNS.route} AS route, ${COLUMNS.kind} AS kind, ${weighted(COLUMNS.skipped)} AS events FROM ${DATASET} ` +
  `WHERE ${within(span)} AND ${COLUMNS.skipped} > 0 GROUP BY route, kind ORDER BY events DESC, route, kind`

export const byOutcomeQuery = (span: Span) =>
  `SELECT ${COLUMNS.outcome} AS name, ${FIGURES} FROM ${DATASET} WHERE ${within(span)} AND ${INGEST} ` +
  "GROUP BY name ORDER BY requests DESC, name"

/** The hourly sweep is in the counters alone: it answers nobody. */
export const byRouteQuery = (span: Span) =>
  `SELECT ${COLUMNS.route} AS name, ${FIGURES} FROM ${DATASET} WHERE ${within(span)} ` +
  `AND ${COLUMNS.route} != '${PART_ROUTE}' AND ${COLUMNS.route} != '${SWEEP_ROUTE}' AND ${COLUMNS.route} != '${OTHER_SCORES}' ` +
  "GROUP BY name ORDER BY requests DESC, name"

const shareOf = (outcomes: readonly Outcome[]) =>
  `sumIf(_sample_interval, ${isOneOf(COLUMNS.outcome, outcomes)}) / ${REQUESTS}`

/**
 * The rates alone, for programs that query Analytics Engine themselves. There is no row without requests,
 * since 0 / 0 is NaN.
 */
export const ratesQuery = (span: Span) =>
  `SELECT ${shareOf(SUCCESSES)} AS success_rate, ${shareOf(ERRORS)} AS error_rate FROM ${DATASET} ` +
  `WHERE ${within(span)} AND ${INGEST} AND ${isOneOf(COLUMNS.outcome, RATED)} GROUP BY dataset`

/** Requests whose answer could not say whether the batch was stored. There is no row without one. */
export const inDoubtQuery = (span: Span) =>
  `SELECT ${REQUESTS} AS requests FROM ${DATASET} WHERE ${within(span)} ` +
  `AND ${isOneOf(COLUMNS.outcome, ["in_doubt"])} GROUP BY dataset`

/** Steps of the hourly sweep that failed. There is no row without one. */
export const sweepFailuresQuery = (span: Span) =>
  `SELECT ${REQUESTS} AS failures FROM ${DATASET} WHERE ${within(span)} ` +
  `AND ${COLUMNS.route} = '${SWEEP_ROUTE}' AND ${COLUMNS.outcome} = 'error' GROUP BY dataset`

/**
 * Upper bounds of the histogram's buckets in seconds: the default of Prometheus clients, and some for large
 * batches.
 */
export const LATENCY_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** One row for each route, outcome and code. The parts of requests have their own route. */
export const countersQuery = (span: Span) =>
  `SELECT ${COLUMNS.route} AS route, ${COLUMNS.outcome} AS outcome, ${COLUMNS.code} AS code, ${REQUESTS} AS requests, ${SCORES}, ` +
  `${weighted(COLUMNS.latencyMs)} AS latency_ms, ` +
  LATENCY_BUCKETS.map(
    (bound, index) => `sumIf(_sample_interval, ${COLUMNS.latencyMs} <= ${bound * 1000}) AS le_${index}`,
  ).join(", ") +
  ` FROM ${DATASET} WHERE ${within(span)} GROUP BY route, outcome, code ORDER BY route, outcome, code`
