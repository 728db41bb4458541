/**
 * The layout of a data point: which blob and which double is what. Writer and reader both take it from here.
 *
 * A dataset can't be migrated: a place that is taken keeps its meaning, and something new gets the next free place.
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
  total: "double1",
  successes: "double2",
  failures: "double3",
  latencyMs: "double4",
  databaseMs: "double5",
  bytes: "double6",
  databaseAttempts: "double7",
  skipped: "double8",
} as const

/** The name of the dataset, as bound in wrangler.toml. */
export const DATASET = "signal_ingest_requests"

/**
 * How a request ended. `replayed`: an earlier answer told again, nothing stored by this request. `queued`: kept, to be stored soon.
 * `skipped`: a webhook's event that is not to be stored.
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
  "refused",
  "error",
] as const
export type Outcome = (typeof OUTCOMES)[number]

/** What counts as a success. */
export const STORED_WHOLE: readonly Outcome[] = ["stored", "queued", "skipped", "replayed", "answered"]
/** What counts as an error: all but a success and `partly_stored`, which is neither. */
export const STORED_NOTHING = OUTCOMES.filter((outcome) => outcome !== "partly_stored" && !STORED_WHOLE.includes(outcome))

export const BATCH_ROUTE = "POST /api/signals/batch"

/** The routes that take signals in. Success rate, error rate and throughput are theirs. */
export const INGEST_ROUTES: readonly string[] = [BATCH_ROUTE, "POST /api/signals", "POST /webhooks/slack", "POST /webhooks/kafka"]

/** What the consumer of the queue did, which is no request: only its signals count. */
export const CONSUMER_ROUTE = "QUEUE signals"

/** Where signals are stored, by whatever way they came in. */
export const STORING_ROUTES: readonly string[] = [...INGEST_ROUTES, CONSUMER_ROUTE, "POST /api/dead-letters/:id/replay"]

/** One request, as the metrics see it. */
export interface RequestPoint {
  /** Method and pattern, such as `GET /api/signals/:id`. */
  route: string
  mode: string
  outcome: Outcome
  status: number
  caller: string
  /** The signal_source that all the signals share, `mixed` when they differ, empty when there were none. */
  source: string
  total: number
  successes: number
  failures: number
  latencyMs: number
  databaseMs: number
  /** Of the decoded body. */
  bytes: number
  databaseAttempts: number
  /** What was skipped: the name of its kind, `mixed` for several, empty for none. */
  kind: string
  /** Records that were acknowledged and not to be stored. */
  skipped: number
}

/** What `writeDataPoint` takes. */
export interface DataPoint {
  indexes: string[]
  blobs: string[]
  doubles: number[]
}

/** Analytics Engine takes at most 96 bytes of index; and 16,000 bytes of blobs, of which no text may take more than its share. */
const INDEX_BYTES = 96
const BLOB_BYTES = 1024

/**
 * The data point of a request.
 *
 * Points are sampled per index: with outcome and route in it, a handful of failures is kept whole beside a flood of successes.
 */
export function dataPoint(point: RequestPoint): DataPoint {
  const { route, mode, outcome, status, caller, source, kind } = point
  return {
    indexes: [clip(`${outcome} ${route}`, INDEX_BYTES)],
    blobs: [route, mode, outcome, String(status), caller, source, kind].map((text) => clip(text, BLOB_BYTES)),
    doubles: [
      point.total,
      point.successes,
      point.failures,
      point.latencyMs,
      point.databaseMs,
      point.bytes,
      point.databaseAttempts,
      point.skipped,
    ],
  }
}

/** The longest beginning of `text` that fits, never half a character. */
function clip(text: string, limitBytes: number): string {
  const bytes = new Uint8Array(limitBytes)
  return text.slice(0, new TextEncoder().encodeInto(text, bytes).read)
}
