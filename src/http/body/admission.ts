import type { Context } from "hono"
import { createMiddleware } from "hono/factory"
import { ByteBudget, type Claim, newClaim } from "../../isolate/byte-budget.ts"
import { RetryPacing } from "../../isolate/retry-pacing.ts"
import type { App } from "../request/context.ts"
import { overloaded } from "../request/problems.ts"

const MIB = 1024 * 1024

/**
 * Bound of the heap that all bodies in flight of an isolate take, by estimate. Cloudflare ends an isolate
 * that needs more than 128 MB, with every request in it.
 */
export const MAX_BYTES_IN_FLIGHT = 64 * MIB
/** Bodies that take more than this leave a quarter of the budget to smaller ones. */
export const SMALL_BYTES = 256 * 1024
const LARGE_BYTES_IN_FLIGHT = 0.75 * MAX_BYTES_IN_FLIGHT
/**
 * Bounds of the wait for room: the number of waiting requests, which hold only their headers, and the time.
 */
export const MAX_WAITING = 512
export const MAX_WAIT_MS = 5000
/**
 * Twice the writes in flight, and the small bodies of some groups. Other requests wait before their body is
 * read, so that their number does not change the work in hand: with 300 small bodies in 64 MiB, an isolate
 * stored less than half as much.
 */
const MAX_LARGE_BODIES = 16
const SMALL_BYTES_IN_FLIGHT = 16 * MIB
/**
 * When the line has not been empty for `STANDING_MS`, a request waits at most half a second for each MiB of
 * its heap: more requests arrive than leave, and a long line makes every answer late. A larger body may wait
 * longer, since it also takes longer to store.
 */
const STANDING_MS = 1000
const PATIENCE_MS_FOR_A_MIB = 500
/** The longest time for a body to arrive. After it the request fails and its share of the budget is free. */
export const BODY_DEADLINE_MS = 30_000
/**
 * A body of a few KB that does not arrive must not hold its share for as long as one of many MiB may need.
 */
const SHORTEST_BODY_DEADLINE_MS = 5000
const BODY_MS_FOR_A_MIB = 3000
/** More than the deadlines of the body, the wait and the database together. */
const CLAIM_MS = 60_000

/**
 * Bytes of heap for one byte of a body: the body, its text, the parsed values, and the statement that stores
 * them.
 */
const HEAP_FOR_A_BYTE = 5
/** Bytes of heap for each object or array besides its text, when it is parsed, planned and encoded. */
const HEAP_FOR_A_CONTAINER = 200
/** The average of usual signals, for the estimate before the objects and arrays of a body are counted. */
const BYTES_FOR_A_CONTAINER = 200

const budget = new ByteBudget({
  bytes: MAX_BYTES_IN_FLIGHT,
  largeBytes: LARGE_BYTES_IN_FLIGHT,
  smallBytes: SMALL_BYTES,
  largeClaims: MAX_LARGE_BODIES,
  smallTotalBytes: SMALL_BYTES_IN_FLIGHT,
  waiters: MAX_WAITING,
  waitMs: MAX_WAIT_MS,
  standingMs: STANDING_MS,
  patienceMs: (bytes) => PATIENCE_MS_FOR_A_MIB * Math.max(1, bytes / MIB),
  claimMs: CLAIM_MS,
})

/** Small and large bodies wait apart, so their senders return at times of their own. */
const retryPacing = { small: new RetryPacing(), large: new RetryPacing() }

/** The time for a body of so many bytes to arrive, in milliseconds: 5 s, and 3 s for each MiB, up to 30 s. */
export const bodyDeadlineMs = (bytes: number) =>
  Math.min(BODY_DEADLINE_MS, SHORTEST_BODY_DEADLINE_MS + BODY_MS_FOR_A_MIB * Math.ceil(bytes / MIB))

/**
 * The bytes of heap that a body takes. It is an estimate for usual signals until its objects and arrays are
 * counted.
 */
export const costOf = ({
  bytes,
  containers = bytes / BYTES_FOR_A_CONTAINER,
}: {
  bytes: number
  containers?: number
}) => Math.ceil(bytes * HEAP_FOR_A_BYTE + containers * HEAP_FOR_A_CONTAINER)

/** A single request can cost more than the budget. It then gets the whole budget of large bodies. */
const wantedOf = (cost: number) => Math.min(cost, LARGE_BYTES_IN_FLIGHT)

/**
 * Claims room for this request's body before it is read, and adjusts the claim when the cost is known better.
 *
 * @throws {Problem} 503: there was no room in time, or too many requests wait
 */
export async function admit(c: Context<App>, cost: number): Promise<void> {
  const claim = claimOf(c)
  const wanted = wantedOf(cost)
  if (wanted < claim.bytes) budget.shrink(claim, wanted)
  if (wanted <= claim.bytes) return
  const isFirst = claim.bytes === 0
  const pacing = retryPacing[wanted > SMALL_BYTES ? "large" : "small"]
  const hasRoom = await budget.grow(claim, wanted - claim.bytes, c.req.raw.signal)
  if (!hasRoom) throw overloaded(pacing.next(Date.now()))
  if (isFirst) pacing.admitted(Date.now())
}

/** Claims room without waiting. Returns false, and claims nothing, when there is none now. */
export function admitAtOnce(c: Context<App>, cost: number): boolean {
  const claim = claimOf(c)
  const missing = wantedOf(cost) - claim.bytes
  return missing <= 0 || budget.growAtOnce(claim, missing)
}

function claimOf(c: Context<App>): Claim {
  const claim = c.get("claim") ?? newClaim()
  c.set("claim", claim)
  return claim
}

/** Releases a request's claim when its answer is ready. */
export const releaseBody = createMiddleware<App>(async (c, next) => {
  try {
    await next()
  } finally {
    const claim = c.get("claim")
    if (claim) budget.release(claim)
  }
})
