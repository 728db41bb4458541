import { platformErrorForLog } from "../errors.ts"
import type { ScoreCounts } from "../signals/answer.ts"
import { WEBHOOKS } from "../signals/sources.ts"

/**
 * The layout of a data point: the blob or double of each field. `dataPoint` and every query use it.
 *
 * A dataset cannot be migrated: a column keeps its meaning, and a new field takes the next free one. A point
 * from before that field has 0 or "" there.
 *
 * @see https://developers.cloudflare.com/analytics/analytics-engine/get-started/
 */
export const COLUMNS = {
  route: "blob1",
  mode: "blob2",
  outcome: "blob3",
  status: "blob4",
  caller: "blob5",
  source: "blob6",
  kind: "blob7",
  code: "blob8",
  total: "double1",
  successes: "double2",
  failures: "double3",
  latencyMs: "double4",
  databaseMs: "double5",
  bytes: "double6",
  databaseAttempts: "double7",
  skipped: "double8",
  duplicates: "double9",
  waiting: "double10",
} as const satisfies Record<keyof Point, `blob${number}` | `double${number}`>

/** The name of the dataset, as bound in wrangler.toml. */
export const DATASET = "signal_ingest_requests"

/**
 * The outcomes of a request. `replayed`: the service returned an earlier answer and stored nothing. `queued`:
 * the consumer stores it later. `skipped`: a webhook's event of a kind that is not stored. `in_doubt`: no
 * answer says whether the batch was stored.
 */
export const OUTCOMES = [
  "stored",
  "queued",
  "skipped",
  "partly_stored",
  "replayed",
  "answered",
  "rejected",
  "invalid",
  "too_large",
  "unauthorized",
  "rate_limited",
  "unavailable",
  "in_doubt",
  "refused",
  "error",
] as const
export type Outcome = (typeof OUTCOMES)[number]

/** The outcomes that count as a success. */
export const SUCCESSES: readonly Outcome[] = ["stored", "queued", "skipped", "replayed", "answered"]
/** Requests refused before they were read say nothing about the service, so no rate counts them. */
export const TURNED_AWAY: readonly Outcome[] = ["unauthorized", "rate_limited"]
/**
 * The outcomes that count as an error: all others but `partly_stored`, which is neither a success nor an
 * error.
 */
export const ERRORS = OUTCOMES.filter(
  (outcome) => ![...SUCCESSES, ...TURNED_AWAY, "partly_stored"].includes(outcome),
)
/** The outcomes in the denominator of the rates. */
export const RATED = OUTCOMES.filter((outcome) => !TURNED_AWAY.includes(outcome))

export const BATCH_ROUTE = "POST /api/signals/batch"

/** The routes that receive signals. Success rate, error rate and throughput count only these. */
export const INGEST_ROUTES: readonly string[] = [
  BATCH_ROUTE,
  "POST /api/signals",
  ...Object.values(WEBHOOKS).map(({ route }) => route),
]

/** A run of the queue's consumer. It is not a request: only its signals count. */
export const CONSUMER_ROUTE = "QUEUE signals"

/** A run of the hourly sweep, `answered`; each step that failed, `error`, with the step as its code. */
export const SWEEP_ROUTE = "CRON sweep"

/** Not a route: the parts of a request's point (see `Parts`). */
export const PART_ROUTE = "PART"

/** The route that receives scores. Its counts are of scores. */
export const SCORES_ROUTE = "POST /api/scores"

/** Not a route: the scores that a webhook or a run of the consumer stored. */
export const OTHER_SCORES = "SCORES"

/** Stands for the source or the code of a point whose signals have several. */
export const MIXED = "mixed"

/** The routes that store signals. */
export const STORING_ROUTES: readonly string[] = [
  ...INGEST_ROUTES,
  CONSUMER_ROUTE,
  "POST /api/dead-letters/:id/replay",
  "POST /api/dead-letters/replay",
]

/** One request, one run of the consumer, or a part of one. An absent field is "" or 0. */
export interface Point {
  /** Method and pattern, such as `GET /api/signals/:id`. */
  route: string
  outcome: Outcome
  mode?: string
  /** The status of the answer. */
  status?: number
  /** The name of the caller's key. */
  caller?: string
  /** The signal_source that all the signals share, `mixed` when they differ. */
  source?: string
  /** The kind of the skipped records, `mixed` for several. */
  kind?: string
  /** The code of the failures, `mixed` when they differ; of the sweep the step that failed. */
  code?: string
  /** Signals sent. */
  total?: number
  /** Signals that this request added to the table. */
  successes?: number
  /** Signals that are not in the table. */
  failures?: number
  /** Signals whose `dedupe_key` was stored before. */
  duplicates?: number
  latencyMs?: number
  databaseMs?: number
  /** Bytes of the decoded body. */
  bytes?: number
  databaseAttempts?: number
  /** Acknowledged records of a kind that is not stored. */
  skipped?: number
  /** Scores that are kept until their signals come. */
  waiting?: number
}

/** The argument of `writeDataPoint`. */
export interface DataPoint {
  indexes: string[]
  blobs: string[]
  doubles: number[]
}

/** Analytics Engine takes at most 96 bytes of index, and 16,000 bytes of blobs, shared among all of them. */
const INDEX_BYTES = 96
const BLOB_BYTES = 1024

/**
 * The data point of a request.
 *
 * Analytics Engine samples by index. Outcome and route are in the index, so that few failures are kept beside
 * many successes; the name of a part is in it, so that a rare part is kept beside many others.
 */
export function dataPoint(point: Point): DataPoint {
  const blobs: string[] = []
  const doubles: number[] = []
  for (const [field, column] of Object.entries(COLUMNS) as [keyof Point, string][]) {
    const index = Number(column.replace(/\D+/, "")) - 1
    if (column.startsWith("blob")) blobs[index] = clip(String(point[field] ?? ""), BLOB_BYTES)
    else doubles[index] = Number(point[field] ?? 0)
  }
  const sampledAs = point.route === PART_ROUTE ? point.code || point.source : point.outcome
  return { indexes: [clip(`${sampledAs} ${point.route}`, INDEX_BYTES)], blobs, doubles }
}

/** Truncates `text` to `limitBytes`, at the end of a character. */
function clip(text: string, limitBytes: number): string {
  const bytes = new Uint8Array(limitBytes)
  return text.slice(0, new TextEncoder().encodeInto(text, bytes).read)
}

/** The number of signals by name. */
type Counts = ReadonlyMap<string, number>

export interface Parts {
  /** Signals that the request added to the table, by their source. */
  sources: Counts
  /** Signals that are not in the table, by the code of their failure. */
  codes: Counts
}

/**
 * The most parts of each kind; the rest counts under "". Analytics Engine accepts 250 points for each
 * invocation, enough for all codes.
 *
 * @see https://developers.cloudflare.com/analytics/analytics-engine/limits/
 */
const MAX_PARTS = 24

/** The name if there is only one; "mixed" for several, "" for none. */
export function commonName(counts: Counts): string {
  const [first = ""] = counts.keys()
  return counts.size > 1 ? MIXED : first
}

/**
 * The point of a request, and its parts: one point for each source and for each code if it has several, since
 * a point holds one name of each. Parts have their own route, so that they are not counted as requests or
 * signals.
 */
export function withParts(point: Point, { sources, codes }: Parts): Point[] {
  const { outcome, caller = "", source } = point
  const parts: Partial<Point>[] = [
    ...(source === MIXED ? largest(sources).map(([name, successes]) => ({ source: name, successes })) : []),
    ...(codes.size > 1 ? largest(codes).map(([code, failures]) => ({ code, failures })) : []),
  ]
  return [
    { ...point, code: commonName(codes) },
    ...parts.map((part) => ({ route: PART_ROUTE, outcome, caller, ...part })),
  ]
}

/** Returns the names with the largest counts, and the sum of all others under "". */
function largest(counts: Counts): [name: string, count: number][] {
  const sorted = [...counts].sort(([, a], [, b]) => b - a)
  const rest = sorted.splice(MAX_PARTS).reduce((sum, [, count]) => sum + count, 0)
  return rest > 0 ? [...sorted, ["", rest]] : sorted
}

/** The dataset of a deployment, or of the local stand-in, whose method calls another Worker. */
export interface Dataset {
  writeDataPoint(point: DataPoint): void | Promise<void>
}

/** Writes the point of scores that came beside signals, unless there are none. Never throws. */
export async function recordScores(dataset: Dataset | undefined, scores: ScoreCounts): Promise<void> {
  const { stored, waiting, duplicates, failed } = scores
  const total = stored + waiting + duplicates + failed
  if (total === 0) return
  const outcome: Outcome = failed === 0 ? "stored" : failed < total ? "partly_stored" : "rejected"
  const counts = { total, successes: stored, waiting, duplicates, failures: failed }
  const parts = { sources: new Map(), codes: new Map() }
  await recordPoint(dataset, { route: OTHER_SCORES, outcome, ...counts }, parts)
}

/**
 * Writes a data point and its parts. Never throws: an error of the metrics must not fail a request, so it
 * only goes to the log.
 */
export async function recordPoint(dataset: Dataset | undefined, point: Point, parts: Parts): Promise<void> {
  try {
    await Promise.all(withParts(point, parts).map((part) => dataset?.writeDataPoint(dataPoint(part))))
  } catch (error) {
    console.warn(JSON.stringify({ event: "data_point_lost", error: platformErrorForLog(error) }))
  }
}
