import { waitUntil } from "cloudflare:workers"
import type { Context } from "hono"
import { createMiddleware } from "hono/factory"
import { type Outcome, type Parts, type Point, recordPoint, recordScores } from "../../metrics/points.ts"
import { countsWithRest, NO_COUNTS } from "../../signals/answer.ts"
import { KEY_LIFETIME_MS } from "../../store/ledger/keys.ts"
import { spanForLog } from "../../trace.ts"
import { type App, arrivalOf, type RequestOutcome, routeOf } from "./context.ts"

/**
 * Writes one line of JSON for each request. It has only counts and names: never a key, a body, or a
 * connection string.
 */
export const logRequest = createMiddleware<App>(async (c, next) => {
  const startedAt = arrivalOf(c)
  await next()
  // A source is text of the sender, so the log leaves it out.
  const { transactionId, source, sources, codes, ...outcome } = c.get("outcome") ?? {}
  const usage = c.get("db")?.usage
  console.log(
    JSON.stringify({
      event: "request",
      request_id: c.get("requestId"),
      client_request_id: c.get("clientRequestId"),
      ...spanForLog(c.get("span")),
      method: c.req.method,
      route: routeOf(c),
      status: c.res.status,
      ms: Date.now() - startedAt,
      caller: c.get("caller")?.name,
      ...outcome,
      codes: codes?.size ? Object.fromEntries(codes) : undefined,
      transaction_id: transactionId,
      database_attempts: usage?.attempts,
      database_ms: usage?.ms,
    }),
  )
})

/**
 * Writes the data point of each request, with its parts, in the background. Requests without a valid key
 * write none, except after an error of the service: otherwise anyone could write any number of points. A key
 * that cannot be checked may be anyone's.
 */
export const recordRequest = createMiddleware<App>(async (c, next) => {
  const startedAt = arrivalOf(c)
  await next()
  const isAnyone = c.get("outcome")?.code === "key_not_checked"
  if (c.get("caller") || (c.res.status >= 500 && !isAnyone)) waitUntil(record(c, Date.now() - startedAt))
})

async function record(c: Context<App>, latencyMs: number): Promise<void> {
  const noted = c.get("outcome") ?? {}
  const usage = c.get("db")?.usage
  const { counts, ...parts } = await signalCounts(c.res.status, noted)
  const point: Point = {
    route: `${c.req.method} ${routeOf(c)}`,
    mode: noted.mode ?? "",
    outcome: outcomeOf(c.res.status, noted),
    status: c.res.status,
    caller: c.get("caller")?.name ?? "",
    source: noted.source ?? "",
    total: noted.total ?? 0,
    ...counts,
    latencyMs,
    databaseMs: usage?.ms ?? 0,
    bytes: c.get("bodyBytes") ?? 0,
    databaseAttempts: usage?.attempts ?? 0,
    kind: noted.kind ?? "",
    skipped: noted.skipped ?? 0,
  }
  await recordPoint(c.env.METRICS, point, parts)
  if (noted.scores && c.res.status < 300) await recordScores(c.env.METRICS, noted.scores)
}

interface SignalCounts extends Parts {
  counts: Pick<Point, "successes" | "failures" | "duplicates" | "waiting">
}

const NOTHING: SignalCounts = { counts: {}, sources: NO_COUNTS, codes: NO_COUNTS }

/** How many signals this request stored, found stored already, and did not store. */
async function signalCounts(status: number, noted: RequestOutcome): Promise<SignalCounts> {
  const {
    total = 0,
    failed = 0,
    duplicates = 0,
    waiting = 0,
    transactionId = "",
    sources = NO_COUNTS,
    codes = NO_COUNTS,
  } = noted
  const counted = {
    counts: { successes: total - failed - duplicates - waiting, failures: failed, duplicates, waiting },
    sources,
    codes,
  }
  if (noted.inDoubt) {
    await markInDoubt(transactionId)
    return { ...NOTHING, codes: new Map([["in_doubt", 0]]) }
  }
  // The first request counted them, unless it ended in doubt.
  if (noted.replayed) return !noted.queued && (await settleDoubt(transactionId)) ? counted : NOTHING
  // Signals without a failure of their own failed with the request.
  if (status >= 300)
    return { ...NOTHING, counts: { failures: total }, codes: countsWithRest(codes, total, noted.code ?? "") }
  // The consumer counts the others when it stores them.
  return noted.queued ? { ...NOTHING, counts: { failures: failed }, codes } : counted
}

const BY_STATUS: Record<number, Outcome> = {
  400: "rejected",
  401: "unauthorized",
  403: "unauthorized",
  413: "too_large",
  422: "invalid",
  429: "rate_limited",
  503: "unavailable",
}

function outcomeOf(status: number, noted: RequestOutcome): Outcome {
  if (noted.inDoubt) return "in_doubt"
  if (status >= 300) return BY_STATUS[status] ?? (status < 500 ? "refused" : "error")
  const { mode, total = 0, failed = 0, replayed, queued, skipped = 0, scores } = noted
  if (mode === undefined) return "answered"
  if (replayed) return "replayed"
  if (total === 0 && skipped > 0 && !scores) return "skipped"
  if (queued && failed === 0) return "queued"
  if (failed === 0) return "stored"
  return failed < total ? "partly_stored" : "rejected"
}

/**
 * The marks of batches in doubt. Their signals count nowhere until a replay reads the outcome from the ledger
 * and counts them.
 *
 * A mark lives in the cache of one Cloudflare location, as long as an Idempotency-Key. A replay that reaches
 * another location, or comes after the cache dropped the mark, counts nothing: the metrics then lack a batch,
 * and never count one twice.
 */

/** The name of a mark within the cache. The cache needs a URL; its host does not exist. */
const markOf = (transactionId: string) => `https://in-doubt.signal-ingest.invalid/${transactionId}`

/** Marks a batch in doubt. Never throws. */
async function markInDoubt(transactionId: string): Promise<void> {
  const mark = new Response("", { headers: { "Cache-Control": `max-age=${KEY_LIFETIME_MS / 1000}` } })
  await caches.default.put(markOf(transactionId), mark).catch(() => {})
}

/**
 * Removes the mark of a batch. True for one caller only, which then counts the batch's signals. Never throws.
 */
const settleDoubt = (transactionId: string): Promise<boolean> =>
  caches.default.delete(markOf(transactionId)).catch(() => false)
