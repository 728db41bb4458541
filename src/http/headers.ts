import type { Context } from "hono"
import { createMiddleware } from "hono/factory"
import { continueTrace, readTraceparent } from "../trace/context.ts"
import type { App } from "./context.ts"

/** A token, so that nothing of it can forge a line of the log. */
const CLIENT_ID = /^[\w=-]{1,255}$/

/**
 * Names each request, for the log and for its sender. A name that the client chose stands beside it, since anybody may choose any. A
 * request that is part of a trace continues it; no other begins one, since nothing would collect it. `tracestate` is not read: it is
 * for whoever calls further services, and this one calls none that is traced.
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
 * Says in `Server-Timing` how long a request asked the database, and how long its body took to be read and judged, in milliseconds.
 * Cloudflare's clock stands still while the Worker computes, so that `validation` is 0 there.
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

/** Adds the time that `work` takes to what `serverTiming` says of the validation. */
export function timeValidation<Result>(c: Context<App>, work: () => Result): Result {
  const startedAt = performance.now()
  try {
    return work()
  } finally {
    c.set("validationMs", (c.get("validationMs") ?? 0) + performance.now() - startedAt)
  }
}

/** An answer is for its caller alone: no cache on the way may keep it (RFC 9111, section 5.2.2.5). */
export const noStore = createMiddleware(async (c, next) => {
  c.header("Cache-Control", "no-store")
  await next()
})
