import type { Context } from "hono"
import { createMiddleware } from "hono/factory"
import { continueTrace, readTraceparent } from "../trace/context.ts"
import type { App } from "./context.ts"

/** Only characters that cannot forge a log line. */
const CLIENT_ID = /^[\w=-]{1,255}$/

/**
 * Gives each request an id, for the log and for the sender. The client's own id is kept as a second id, since
 * it need not be unique. A request with a trace continues it; other requests start none, since nothing would
 * collect it. `tracestate` is not read: it matters only for calls to traced services, and this service makes
 * none.
 */
export const requestIds = createMiddleware<App>(async (c, next) => {
  const id = crypto.randomUUID()
  c.set("requestId", id)
  c.header("X-Request-Id", id)
  const clientId = c.req.header("X-Request-Id")
  if (clientId !== undefined && CLIENT_ID.test(clientId)) {
    c.set("clientRequestId", clientId)
    c.header("X-Client-Request-Id", clientId)
  }
  const trace = readTraceparent(c.req.header("traceparent"))
  if (trace) c.set("span", continueTrace(trace))
  await next()
})

/**
 * Sets `Server-Timing` with the milliseconds of the database calls, and of parsing and validating the body.
 * Cloudflare's clock does not advance while the Worker computes, so `validation` is 0 there.
 *
 * @see https://www.w3.org/TR/server-timing/
 */
export const serverTiming = createMiddleware<App>(async (c, next) => {
  await next()
  const usage = c.get("db")?.usage
  const validationMs = c.get("validationMs")
  const metrics = [
    ...(usage && usage.attempts > 0 ? [`db;dur=${usage.ms.toFixed(1)}`] : []),
    ...(validationMs === undefined ? [] : [`validation;dur=${validationMs.toFixed(1)}`]),
  ]
  if (metrics.length > 0) c.header("Server-Timing", metrics.join(", "))
})

/** Runs `work`, and adds its time to the `validation` of `serverTiming`. */
export function timeValidation<Result>(c: Context<App>, work: () => Result): Result {
  const startedAt = performance.now()
  try {
    return work()
  } finally {
    c.set("validationMs", (c.get("validationMs") ?? 0) + performance.now() - startedAt)
  }
}

/** Forbids caches to store the answer: it is for its caller alone (RFC 9111, section 5.2.2.5). */
export const noStore = createMiddleware(async (c, next) => {
  c.header("Cache-Control", "no-store")
  await next()
})
