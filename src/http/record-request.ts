import { waitUntil } from "cloudflare:workers"
import type { Context } from "hono"
import { createMiddleware } from "hono/factory"
import type { Outcome, RequestPoint } from "../metrics/point.ts"
import { recordPoint } from "../metrics/record.ts"
import { type App, routeOf } from "./context.ts"

/** Writes one data point a request, once its answer is made. Nothing waits for it. */
export const recordRequest = createMiddleware<App>(async (c, next) => {
  const startedAt = Date.now()
  await next()
  waitUntil(recordPoint(c.env.METRICS, requestPoint(c, Date.now() - startedAt)))
})

function requestPoint(c: Context<App>, latencyMs: number): RequestPoint {
  const {
    total = 0,
    failed = 0,
    mode = "",
    source = "",
    replayed = false,
    queued = false,
    skipped = 0,
    kind = "",
  } = c.get("outcome") ?? {}
  const { status } = c.res
  const stored = status < 300 && !replayed
  const usage = c.get("db")?.usage
  return {
    route: `${c.req.method} ${routeOf(c)}`,
    mode,
    outcome: outcomeOf(c),
    status,
    caller: c.get("caller")?.name ?? "",
    source,
    total,
    // What is queued counts when the consumer stores it.
    successes: stored && !queued ? total - failed : 0,
    // Of a batch that was refused or in doubt none counts as stored; of one told again none counts twice.
    failures: replayed ? 0 : stored ? failed : total,
    latencyMs,
    databaseMs: usage?.ms ?? 0,
    bytes: c.get("body")?.byteLength ?? 0,
    databaseAttempts: usage?.attempts ?? 0,
    kind,
    skipped,
  }
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

function outcomeOf(c: Context<App>): Outcome {
  const { status } = c.res
  if (status >= 300) return BY_STATUS[status] ?? (status < 500 ? "refused" : "error")
  const { mode, total = 0, failed = 0, replayed, queued, skipped = 0 } = c.get("outcome") ?? {}
  if (mode === undefined) return "answered"
  if (replayed) return "replayed"
  if (total === 0 && skipped > 0) return "skipped"
  if (queued && failed === 0) return "queued"
  if (failed === 0) return "stored"
  return failed < total ? "partly_stored" : "rejected"
}
