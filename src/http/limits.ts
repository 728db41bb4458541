import type { Context } from "hono"
import { createMiddleware } from "hono/factory"
import { type App, noteOutcome } from "./context.ts"
import { tooManyRequests } from "./problems.ts"

/** The period of both rate limiters in wrangler.toml. Cloudflare does not say when a window ends, so that is the longest wait. */
const PERIOD_SECONDS = 10

/** What a request may carry for the one unit that it counts anyway; every further share, once started, counts one more. */
const SIGNALS_A_UNIT = 1000
const BYTES_A_UNIT = 1024 * 1024

/**
 * Counts every request by the address it comes from, before its key or signature is looked at. Where Cloudflare names no address, as on
 * a developer's machine, all requests share one.
 *
 * @see https://developers.cloudflare.com/workers/runtime-apis/bindings/rate-limit/
 */
export const limitAddress = createMiddleware<App>(async (c, next) => {
  if (c.env.ADDRESS_RATE_LIMITER) namePolicy(c, "address")
  await count(c, c.env.ADDRESS_RATE_LIMITER, `address:${networkOf(c.req.header("CF-Connecting-IP") ?? "unknown")}`)
  await next()
})

/** Counts requests by caller. Where access is open there is no caller to count beside the address. */
export const limitCaller = createMiddleware<App>(async (c, next) => {
  if (c.env.RATE_LIMITER && !isAnonymous(c)) namePolicy(c, "caller")
  await countCaller(c)
  await next()
})

/** Counts a large request for what it carries. Cloudflare's limiter counts calls, one each, so that a unit is a call. */
export async function limitWork(c: Context<App>, work: { signals: number; bytes: number }): Promise<void> {
  const units = Math.max(Math.ceil(work.signals / SIGNALS_A_UNIT), Math.ceil(work.bytes / BYTES_A_UNIT))
  await Promise.all(Array.from({ length: Math.max(0, units - 1) }, () => countCaller(c)))
}

async function countCaller(c: Context<App>): Promise<void> {
  if (!isAnonymous(c)) await count(c, c.env.RATE_LIMITER, `caller:${c.get("caller").name}`)
}

const isAnonymous = (c: Context<App>) => c.get("caller").name === "anonymous"

/**
 * Says what a limiter allows. How much of it is left Cloudflare does not say, so that there is no `RateLimit` beside it.
 *
 * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
 */
function namePolicy(c: Context<App>, name: "address" | "caller"): void {
  const quota = c.get("settings").rateLimits[name]
  if (quota !== undefined) c.header("RateLimit-Policy", `"${name}";q=${quota};w=${PERIOD_SECONDS}`, { append: true })
}

/** Cloudflare keeps the counts for each of its locations. A limiter that fails lets everyone through: it must not cost a signal. */
async function count(c: Context<App>, limiter: RateLimit | undefined, key: string): Promise<void> {
  const counted = await limiter?.limit({ key }).catch(() => noteOutcome(c, { error: "rate limiter out of order" }))
  if (counted?.success === false) throw tooManyRequests(PERIOD_SECONDS)
}

/** An IPv4 address, or the /64 of an IPv6 address, which is what one customer of a provider has at least. */
export function networkOf(address: string): string {
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
