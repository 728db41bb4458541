import type { Context } from "hono"
import { createMiddleware } from "hono/factory"
import { ByteBudget, type Claim, newClaim } from "../../isolate/byte-budget.ts"
import { RetryPacing } from "../../isolate/retry-pacing.ts"
import { type App, ownerOf } from "../request/context.ts"
import { overloaded } from "../request/problems.ts"

const KIB = 1024
const MIB = 1024 * KIB

/** Bounds of the waits for room: the number of waiting requests, and the time. */
const MAX_WAITING = 512
const MAX_WAIT_MS = 5000
/** More than the deadlines of the body, the wait and the database together. */
const CLAIM_MS = 60_000

/**
 * The bytes of bodies that are arriving, or wait to be worked on. The claim of a body grows while it arrives,
 * so that a connection that sends nothing holds nothing.
 */
const MAX_BYTES_ARRIVING = 24 * MIB

/**
 * Bodies that arrive at once, and those that may wait for the work on them. Others are not read yet: reading
 * costs CPU, which is in vain for a request that is refused later.
 */
const MAX_BODIES_ARRIVING = 128
const MAX_READ_AHEAD = 16

const arriving = new ByteBudget({
  bytes: MAX_BYTES_ARRIVING,
  lanes: [{ largestBytes: MAX_BYTES_ARRIVING, bytes: MAX_BYTES_ARRIVING, claims: MAX_BODIES_ARRIVING }],
  growsFreely: false,
  mayBegin: () => atWork.waiting < MAX_READ_AHEAD,
  waiters: MAX_WAITING,
  waitMs: MAX_WAIT_MS,
  claimMs: CLAIM_MS,
})

/** Up to about 100 signals, and up to about 1,500. */
const SMALL_BYTES = 256 * KIB
const MEDIUM_BYTES = 4 * MIB
/** The largest body of the default limit fits. A larger one gets all that large bodies have. */
const LARGE_BYTES_AT_WORK = 44 * MIB
/** Twice the writes in flight. */
const MAX_MEDIUM_BODIES = 16
/**
 * Bound of the heap that all bodies take that are being parsed and stored, by estimate. Cloudflare ends an
 * isolate that needs more than 128 MB, with every request in it.
 */
const MAX_BYTES_AT_WORK = 84 * MIB

/**
 * Other requests wait, so that their number does not change the work in hand: with 300 small bodies in 64
 * MiB, an isolate stored less than half as much.
 */
const atWork = new ByteBudget({
  bytes: MAX_BYTES_AT_WORK,
  lanes: [
    { largestBytes: SMALL_BYTES, bytes: 16 * MIB },
    { largestBytes: MEDIUM_BYTES, bytes: 24 * MIB, claims: MAX_MEDIUM_BODIES },
    { largestBytes: LARGE_BYTES_AT_WORK, bytes: LARGE_BYTES_AT_WORK },
  ],
  growsFreely: true,
  waiters: MAX_WAITING,
  waitMs: MAX_WAIT_MS,
  claimMs: CLAIM_MS,
})

const pacing = new RetryPacing()

/**
 * Bytes of heap for one byte of a body: the body, its text, the parsed values, and the statement that stores
 * them.
 */
const HEAP_FOR_A_BYTE = 5
/** Bytes of heap for each object or array besides its text, when it is parsed, planned and encoded. */
const HEAP_FOR_A_CONTAINER = 200
/** The average of usual signals, for the estimate before the objects and arrays of a body are counted. */
const BYTES_FOR_A_CONTAINER = 200

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

/** A single request can cost more than the budget. It then gets all that large bodies have. */
const wantedOf = (cost: number) => Math.min(cost, LARGE_BYTES_AT_WORK)

/**
 * Claims room for bytes of the body that are arriving, besides those that have arrived.
 *
 * @throws {Problem} 503: there was no room in time, or too many requests wait
 */
export async function receive(c: Context<App>, bytes: number): Promise<void> {
  const claims = claimsOf(c)
  // A webhook has no caller yet: its signature is verified when the body is here.
  claims.arriving ??= newClaim(c.get("caller") ? ownerOf(c) : UNPROVED)
  const claim = claims.arriving
  if (!(await arriving.grow(claim, bytes, c.req.raw.signal))) throw overloaded(nextReturn())
}

/**
 * Claims the heap for the work on a body that has arrived, and adjusts the claim when the cost is known
 * better. What the body held while it arrived is released.
 *
 * @throws {Problem} 503: there was no room in time, or too many requests wait
 */
export async function admit(c: Context<App>, cost: number): Promise<void> {
  const claim = atWorkOf(c)
  const wanted = wantedOf(cost)
  if (wanted < claim.bytes) atWork.shrink(claim, wanted)
  const isFirst = claim.bytes === 0
  if (wanted > claim.bytes && !(await atWork.grow(claim, wanted - claim.bytes, c.req.raw.signal)))
    throw overloaded(nextReturn())
  if (isFirst) noteAdmission(c)
}

/** Claims heap without waiting. Returns false, and claims nothing, when there is none now. */
export function admitAtOnce(c: Context<App>, cost: number): boolean {
  const claim = atWorkOf(c)
  const missing = wantedOf(cost) - claim.bytes
  const isFirst = claim.bytes === 0
  if (missing > 0 && !atWork.growAtOnce(claim, missing)) return false
  if (isFirst) noteAdmission(c)
  return true
}

/** Adds to the claim of a request what it needs besides its body. Throws as `admit` does. */
export const admitMore = (c: Context<App>, bytes: number): Promise<void> =>
  admit(c, atWorkOf(c).bytes + bytes)

function noteAdmission(c: Context<App>): void {
  pacing.admitted(Date.now())
  releaseArriving(c)
}

/** Releases the room of a body that has arrived, or that is not wanted any more. */
export function releaseArriving(c: Context<App>): void {
  const { arriving: claim } = claimsOf(c)
  if (claim) arriving.release(claim)
  arriving.serve()
}

/** The seconds after which a refused sender should come again. */
export const nextReturn = (): number => pacing.next(Date.now())

/**
 * Whether a request that comes now would wait in vain: too many wait already, or more than are admitted
 * within the longest wait. Requests that wait since their own caller has its share do not count, so that no
 * caller makes the isolate refuse the others.
 */
export function isOverloaded(): boolean {
  const waiting = arriving.waiting + atWork.waiting
  if (waiting >= 2 * MAX_WAITING) return true
  const most = Math.min(MAX_WAITING, LEAST_LINE + pacing.admittedWithin(MAX_WAIT_MS / 2, Date.now()))
  return waiting > most && arriving.waitingForOthers + atWork.waitingForOthers > most
}

/** A line that is always allowed, so that an isolate learns how fast it is. */
const LEAST_LINE = 128

/** The owner of all that arrives without a proved caller: at most half of the room is for it. */
const UNPROVED = "unproved"

function claimsOf(c: Context<App>): App["Variables"]["claims"] {
  const claims = c.get("claims") ?? {}
  c.set("claims", claims)
  return claims
}

function atWorkOf(c: Context<App>): Claim {
  const claims = claimsOf(c)
  claims.atWork ??= newClaim(ownerOf(c))
  return claims.atWork
}

/** Releases a request's claims when its answer is ready. */
export const releaseBody = createMiddleware<App>(async (c, next) => {
  try {
    await next()
  } finally {
    releaseClaims(c)
  }
})

function releaseClaims(c: Context<App>): void {
  const claims = c.get("claims")
  if (claims?.arriving) arriving.release(claims.arriving)
  if (claims?.atWork) atWork.release(claims.atWork)
  arriving.serve()
}
