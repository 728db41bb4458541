import type { Context } from "hono"
import { createMiddleware } from "hono/factory"
import { continueTrace, readTraceparent } from "../../trace.ts"
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

/** A token or a quoted string of RFC 9110, sections 5.6.2 and 5.6.4. */
const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const QUOTED = String.raw`"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"`
const VALUE = `(?:${TOKEN}|${QUOTED})`
const PREFERENCE = new RegExp(
  `[ \\t]*(${TOKEN})(?:[ \\t]*=[ \\t]*(${VALUE}))?((?:[ \\t]*;(?:[ \\t]*${TOKEN}(?:[ \\t]*=[ \\t]*${VALUE})?)?)*)[ \\t]*(?:,|$)`,
  "y",
)
const EMPTY = /[ \t]*,/y

/** Bound of the header; a useful one is far shorter. */
const MAX_CHARACTERS = 1000

/**
 * Reads the preferences of a `Prefer` header by their lower-case names; "" for one without a value. The first
 * of each name counts. A header that does not follow the grammar has no preferences: a preference is never
 * required.
 *
 * @see https://www.rfc-editor.org/rfc/rfc7240#section-2
 */
export function readPreferences(header: string | undefined): Map<string, string> {
  const preferences = new Map<string, string>()
  if (header === undefined || header.length > MAX_CHARACTERS) return preferences
  for (let index = 0; index < header.length; ) {
    EMPTY.lastIndex = PREFERENCE.lastIndex = index
    if (EMPTY.test(header)) {
      index = EMPTY.lastIndex
      continue
    }
    const found = PREFERENCE.exec(header)
    if (!found) return /^[ \t]*$/.test(header.slice(index)) ? preferences : new Map()
    index = PREFERENCE.lastIndex
    const [, name = "", value = ""] = found
    if (!preferences.has(name.toLowerCase())) preferences.set(name.toLowerCase(), unquoted(value))
  }
  return preferences
}

/** RFC 7240: an empty value is the same as none. */
const unquoted = (value: string) =>
  value.startsWith('"') ? value.slice(1, -1).replace(/\\(.)/g, "$1") : value
