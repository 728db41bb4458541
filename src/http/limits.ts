import { createMiddleware } from "hono/factory"
import { type App, noteOutcome } from "./context.ts"
import { tooManyRequests } from "./problems.ts"

/** The period of the rate limiter in wrangler.toml: when its window ends is not told, so that is the longest wait. */
const PERIOD_SECONDS = 10

/**
 * Counts requests by caller, or by address where access is open; Cloudflare keeps the counts for each of its locations.
 *
 * @see https://developers.cloudflare.com/workers/runtime-apis/bindings/rate-limit/
 */
export const limitRate = createMiddleware<App>(async (c, next) => {
  const caller = c.get("caller")?.name ?? "anonymous"
  const key = caller === "anonymous" ? `address:${c.req.header("CF-Connecting-IP") ?? "unknown"}` : `caller:${caller}`
  // A limiter that is out of order lets everyone through: it may not cost a signal.
  const counted = await c.env.RATE_LIMITER?.limit({ key }).catch(() => noteOutcome(c, { fault: "rate limiter out of order" }))
  if (counted?.success === false) throw tooManyRequests(PERIOD_SECONDS)
  await next()
})
