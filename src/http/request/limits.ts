import type { Context } from "hono"
import { createMiddleware } from "hono/factory"
import { quotaOf } from "../../access/keys.ts"
import { DAY_SECONDS } from "../../isolate/day-quota.ts"
import { keySourceOf } from "./auth.ts"
import { type App, noteOutcome } from "./context.ts"
import { overDayLimit, tooManyRequests } from "./problems.ts"

/**
 * The period of both rate limiters in wrangler.toml. It is also the `Retry-After`, since Cloudflare does not
 * say when a window ends.
 */
const PERIOD_SECONDS = 10

/**
 * The size of a request that counts as one unit. Each further share of this size, even a part of it, counts
 * as one more unit.
 */
const SIGNALS_A_UNIT = 1000
const BYTES_A_UNIT = 1024 * 1024

/**
 * Limits requests by their address, before the key or signature is checked. Where there is no address of
 * Cloudflare, as in local development, all requests share one limit.
 *
 * @see https://developers.cloudflare.com/workers/runtime-apis/bindings/rate-limit/
 */
export const limitAddress = createMiddleware<App>(async (c, next) => {
  if (c.env.ADDRESS_RATE_LIMITER) namePolicy(c, "address")
  await count(
    c,
    c.env.ADDRESS_RATE_LIMITER,
    `address:${networkOf(c.req.header("CF-Connecting-IP") ?? "unknown")}`,
  )
  await next()
})

/** Limits requests by caller. With open access there is no caller, so only the address counts. */
export const limitCaller = createMiddleware<App>(async (c, next) => {
  if (c.env.RATE_LIMITER && !isAnonymous(c)) namePolicy(c, "caller")
  nameDayLimits(c)
  await countCaller(c)
  await next()
})

/**
 * Counts a large request as several units, and spends of what its caller may send in a day. Cloudflare's
 * limiter counts calls, so each unit is one call.
 */
export async function limitWork(c: Context<App>, work: { signals: number; bytes: number }): Promise<void> {
  const { name, limits } = c.get("caller")
  const over = limits && quotaOf(keySourceOf(c)).spend(name, limits, work)
  if (over) throw overDayLimit(over.limit, limits[over.limit] ?? 0, over.retryAfterSeconds)
  const units = Math.max(Math.ceil(work.signals / SIGNALS_A_UNIT), Math.ceil(work.bytes / BYTES_A_UNIT))
  await Promise.all(Array.from({ length: Math.max(0, units - 1) }, () => countCaller(c)))
}

async function countCaller(c: Context<App>): Promise<void> {
  if (!isAnonymous(c)) await count(c, c.env.RATE_LIMITER, `caller:${c.get("caller").name}`)
}

const isAnonymous = (c: Context<App>) => c.get("caller").name === "anonymous"

/**
 * Names the quota of a limiter. There is no `RateLimit` header, since Cloudflare does not say how much of the
 * quota is left.
 *
 * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
 */
function namePolicy(c: Context<App>, name: "address" | "caller"): void {
  const quota = c.get("settings").rateLimits[name]
  if (quota !== undefined)
    c.header("RateLimit-Policy", `"${name}";q=${quota};w=${PERIOD_SECONDS}`, { append: true })
}

/** Names what the caller may send in a day. How much is left is known only about. */
function nameDayLimits(c: Context<App>): void {
  const { limits } = c.get("caller")
  for (const limit of ["signals", "bytes"] as const) {
    const quota = limits?.[limit] ?? null
    if (quota !== null)
      c.header("RateLimit-Policy", `"${limit}-per-day";q=${quota};w=${DAY_SECONDS}`, { append: true })
  }
}

/**
 * Cloudflare counts separately in each of its locations. When the limiter fails, the request passes: a
 * failure must not cost a signal.
 */
async function count(c: Context<App>, limiter: RateLimit | undefined, key: string): Promise<void> {
  const counted = await limiter
    ?.limit({ key })
    .catch(() => noteOutcome(c, { error: "rate limiter out of order" }))
  if (counted?.success === false) throw tooManyRequests(PERIOD_SECONDS)
}

/** An IPv4 address, or the /64 of an IPv6 address, the smallest network that a provider gives a customer. */
function networkOf(address: string): string {
  if (!address.includes(":")) return address
  const [head = "", tail] = address.toLowerCase().split("::")
  const groups = (text: string) => (text === "" ? [] : text.split(":"))
  const [first, last] = [groups(head), groups(tail ?? "")]
  const all = [...first, ...Array(Math.max(0, 8 - first.length - last.length)).fill("0"), ...last]
  return `${all
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":")}::/64`
}
