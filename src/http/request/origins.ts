import { cors } from "hono/cors"
import { createMiddleware } from "hono/factory"
import type { Bindings } from "../../bindings.ts"
import { readSettings } from "../../config.ts"
import type { App } from "./context.ts"
import { crossSite } from "./problems.ts"

/** Chromium caches a preflight at most this long. */
export const MAX_AGE_SECONDS = 7200

export const ALLOWED_METHODS = ["GET", "HEAD", "POST", "PATCH", "DELETE"]

/** What a page may send. */
export const ALLOWED_HEADERS = [
  "Authorization",
  "Content-Encoding",
  "Content-Type",
  "Idempotency-Key",
  "Prefer",
  "X-Request-Id",
  // Instrumentations of pages add these. Only traceparent is read.
  "baggage",
  "sentry-trace",
  "traceparent",
  "tracestate",
]

/** What a page may read of an answer. */
export const EXPOSED_HEADERS = [
  "Accept-Encoding",
  "Allow",
  "Idempotency-Replayed",
  "Location",
  "Preference-Applied",
  "RateLimit-Policy",
  "Retry-After",
  "Server-Timing",
  "WWW-Authenticate",
  "X-Client-Request-Id",
  "X-Request-Id",
]

const answerOrigin = cors({
  origin: (origin) => origin,
  allowMethods: ALLOWED_METHODS,
  allowHeaders: ALLOWED_HEADERS,
  exposeHeaders: EXPOSED_HEADERS,
  maxAge: MAX_AGE_SECONDS,
})

/** The headers by which a page of such an origin may read an answer that is made before any other work. */
export function pageHeaders(request: Request, env: Bindings): Record<string, string> {
  const origin = request.headers.get("Origin")
  if (origin === null || !readSettings(env).access.origins.includes(origin)) return {}
  return {
    "Access-Control-Allow-Origin": origin,
    "Access-Control-Expose-Headers": EXPOSED_HEADERS.join(),
    Vary: "Origin",
  }
}

/**
 * Allows pages of the origins in `CORS_ORIGINS` to call the service and to read every answer, errors
 * included. A preflight is answered before authentication, since browsers send no key with it. Cookies are
 * never accepted: a page authenticates by its key.
 *
 * @see https://fetch.spec.whatwg.org/#http-cors-protocol
 */
export const allowOrigins = createMiddleware<App>(async (c, next) => {
  const { origins } = readSettings(c.env).access
  if (origins.length === 0) return next()
  const isAllowed = origins.includes(c.req.header("Origin") ?? "")
  const isPreflight = c.req.header("Access-Control-Request-Method") !== undefined
  if (isAllowed && (isPreflight || c.req.method !== "OPTIONS")) return answerOrigin(c, next)
  await next()
  c.header("Vary", "Origin", { append: true })
})

/**
 * With open access, refuses requests from pages of other sites: such a page could otherwise write signals
 * through its visitor's browser (a form, or `fetch` without CORS, needs no permission). Programs other than
 * browsers send neither header. Pages of the origins in `CORS_ORIGINS` may call /api.
 *
 * @see https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
 */
export const refuseCrossSite = createMiddleware<App>(async (c, next) => {
  const { open, origins } = c.get("settings").access
  const isListed = c.req.path.startsWith("/api/") && origins.includes(c.req.header("Origin") ?? "")
  if (open && !isListed && isCrossSite(c.req.raw.headers)) throw crossSite()
  await next()
})

function isCrossSite(headers: Headers): boolean {
  const site = headers.get("Sec-Fetch-Site")
  // "none": a user typed the address.
  if (site !== null) return site !== "same-origin" && site !== "none"
  const origin = headers.get("Origin")
  return origin !== null && URL.parse(origin)?.host !== headers.get("Host")
}
