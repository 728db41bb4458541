import type { Context } from "hono"
import { createMiddleware } from "hono/factory"
import type { App } from "../context.ts"
import { overloaded } from "../problems.ts"
import { ByteBudget, type Claim, newClaim } from "./budget.ts"

const MIB = 1024 * 1024

/**
 * What the bodies in flight of an isolate take together on its heap, as estimated. Cloudflare ends an isolate that needs more than
 * 128 MB, with every request in it.
 */
export const MAX_BYTES_IN_FLIGHT = 24 * MIB
/** Bodies that take more than this leave a quarter of the budget to smaller ones. */
export const SMALL_BYTES = 256 * 1024
const LARGE_BYTES_IN_FLIGHT = 0.75 * MAX_BYTES_IN_FLIGHT
/** Requests that wait for room at once, each holding its headers alone, and for how long. */
export const MAX_WAITING = 512
export const MAX_WAIT_MS = 5000
/** A body that takes longer to arrive is given up, and so is its share of the budget. */
export const BODY_DEADLINE_MS = 30_000
/** The reading, the wait and the database's deadline, with room to spare. */
const CLAIM_MS = 60_000

/** A byte of a body, its text, the values read from it, and the statement that stores them. */
const HEAP_FOR_A_BYTE = 5
/** An object or array and what it takes on the heap beside its text, once parsed, planned and encoded. */
const HEAP_FOR_A_CONTAINER = 200
/** Of usual signals; a body is counted once it is there. */
const BYTES_FOR_A_CONTAINER = 200

const budget = new ByteBudget({
  bytes: MAX_BYTES_IN_FLIGHT,
  largeBytes: LARGE_BYTES_IN_FLIGHT,
  smallBytes: SMALL_BYTES,
  waiters: MAX_WAITING,
  waitMs: MAX_WAIT_MS,
  claimMs: CLAIM_MS,
})

/** What a body takes on the heap, in bytes: an estimate for usual signals until its objects and arrays are counted. */
export const costOf = ({ bytes, containers = bytes / BYTES_FOR_A_CONTAINER }: { bytes: number; containers?: number }) =>
  Math.ceil(bytes * HEAP_FOR_A_BYTE + containers * HEAP_FOR_A_CONTAINER)

/** One request alone may need more than there is: it gets all that large bodies may have. */
const wantedOf = (cost: number) => Math.min(cost, LARGE_BYTES_IN_FLIGHT)

/**
 * Claims room for this request's body before it is read, or what it needs once more is known. It gives back what it does not need.
 *
 * @throws {Problem} 503: there was no room in time, and nothing more is read
 */
export async function admit(c: Context<App>, cost: number): Promise<void> {
  const claim = claimOf(c)
  const wanted = wantedOf(cost)
  if (wanted < claim.bytes) budget.shrink(claim, wanted)
  else if (wanted > claim.bytes && !(await budget.grow(claim, wanted - claim.bytes))) throw overloaded()
}

/** The same without a wait. False, and nothing is claimed, when there is no room now. */
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

/** Gives a request's share of the budget back once its answer is made. */
export const releaseBody = createMiddleware<App>(async (c, next) => {
  try {
    await next()
  } finally {
    const claim = c.get("claim")
    if (claim) budget.release(claim)
  }
})
