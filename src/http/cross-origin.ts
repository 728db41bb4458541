import { cors } from "hono/cors"
import { createMiddleware } from "hono/factory"
import { readSettings } from "../config.ts"
import type { App } from "./context.ts"

/** Chromium keeps a preflight no longer. */
const MAX_AGE_SECONDS = 7200

const answerOrigin = cors({
  origin: (origin) => origin,
  allowMethods: ["GET", "HEAD", "POST", "DELETE"],
  allowHeaders: [
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Idempotency-Key",
    "Prefer",
    "X-Request-Id",
    "traceparent",
    "tracestate",
  ],
  exposeHeaders: [
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
  ],
  maxAge: MAX_AGE_SECONDS,
})

/**
 * Lets the pages of the origins in `CORS_ORIGINS` call, and read every answer, also an error. A preflight is answered before any key is
 * looked at, since browsers send none with it. Cookies are never accepted: a page proves itself by its key.
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
