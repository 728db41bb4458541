import { createMiddleware } from "hono/factory"
import type { App } from "./context.ts"
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
  const allowed = await c.env.RATE_LIMITER?.limit({ key })
  if (allowed?.success === false) throw tooManyRequests(PERIOD_SECONDS)
  await next()
})
