/** A request's share of the budget, until it is released or expires. */
export interface Claim {
  bytes: number
  /** Whether it began with more than `smallBytes`. */
  isLarge: boolean
  expiresAt: number
}

/** An empty claim. */
export const newClaim = (): Claim => ({ bytes: 0, isLarge: false, expiresAt: 0 })

export interface BudgetOptions {
  /** The most bytes of all claims together. */
  bytes: number
  /**
   * The most bytes of all claims together after a claim of more than `smallBytes`. Large bodies so leave room
   * for small ones.
   */
  largeBytes: number
  smallBytes: number
  /** The most large claims at once. */
  largeClaims: number
  /** The most bytes of small claims together when one more is admitted. */
  smallTotalBytes: number
  /** The most requests that wait at once. */
  waiters: number
  waitMs: number
  /**
   * When a lane has had waiters for longer than this, each waits only `patienceMs`: more arrive than leave,
   * so a longer wait does not help.
   */
  standingMs: number
  /** The longest wait for so many bytes in such a lane. */
  patienceMs: (bytes: number) => number
  /**
   * When a client disconnects, the runtime stops its request without running `finally`. The claim then
   * expires after this time.
   */
  claimMs: number
}

/**
 * Each lane is a separate queue. A request that holds a part of its claim must not wait for requests that
 * hold nothing.
 */
type Lane = "growing" | "small" | "large"

interface Ticket {
  lane: Lane
  bytes: number
  /** When its owner checks again, in milliseconds since the epoch. */
  checksAt: number
}

/** So many claims of so many bytes together. */
interface Wanted {
  claims: number
  bytes: number
}

const NOTHING: Wanted = { claims: 0, bytes: 0 }

/** A waiter that is this late has disconnected. */
const GONE_AFTER_MS = 1000

/**
 * The pause between checks: the shortest for the first waiter of a lane, longer for each waiter behind it.
 */
const SHORTEST_PAUSE_MS = 5
const LONGEST_PAUSE_MS = 250

/**
 * A budget of bytes that requests share. A request without room waits in order of arrival, and is refused
 * after a bounded time.
 *
 * Each waiter checks again by its own timer: in workerd a promise of one request must not wake another
 * request, and the timers of a request end when its client disconnects.
 *
 * @see
 *   https://developers.cloudflare.com/workers/observability/errors/#cannot-perform-io-on-behalf-of-a-different-request
 */
export class ByteBudget {
  readonly #options: BudgetOptions
  readonly #claims = new Set<Claim>()
  #line: Ticket[] = []
  /** Since when each lane has had waiters. */
  readonly #standingSince: Record<Lane, number> = { growing: 0, small: 0, large: 0 }
  #held = 0
  #heldBySmall = 0

  constructor(options: BudgetOptions) {
    this.#options = options
  }

  get held(): number {
    return this.#held
  }

  /**
   * Adds `bytes` to a claim. Returns false, and adds nothing, when there is no room in time, or too many
   * requests wait.
   */
  async grow(claim: Claim, bytes: number): Promise<boolean> {
    if (this.growAtOnce(claim, bytes)) return true
    const lane = this.#laneOf(claim, bytes)
    if (lane !== "growing" && this.#line.length >= this.#options.waiters) return false
    const startedAt = Date.now()
    if (!this.#line.some((other) => other.lane === lane)) this.#standingSince[lane] = startedAt
    const ticket: Ticket = { lane, bytes, checksAt: 0 }
    this.#line.push(ticket)
    try {
      for (let now = startedAt; now < startedAt + this.#waitMs(lane, bytes); now = Date.now()) {
        const leftMs = startedAt + this.#waitMs(lane, bytes) - now
        const pauseMs = Math.min(
          LONGEST_PAUSE_MS,
          SHORTEST_PAUSE_MS * (this.#before(ticket).claims + 1),
          leftMs,
        )
        ticket.checksAt = now + pauseMs
        await new Promise((resolve) => setTimeout(resolve, pauseMs))
        if (this.#take(claim, ticket, this.#before(ticket))) return true
      }
      return false
    } finally {
      this.#line = this.#line.filter((one) => one !== ticket)
    }
  }

  /** Adds `bytes` without waiting. */
  growAtOnce(claim: Claim, bytes: number): boolean {
    const lane = this.#laneOf(claim, bytes)
    this.#removeGone()
    return !this.#line.some((other) => other.lane === lane) && this.#take(claim, { lane, bytes }, NOTHING)
  }

  /** Reduces a claim to `keptBytes`. */
  shrink(claim: Claim, keptBytes: number): void {
    if (!this.#claims.has(claim) || claim.bytes <= keptBytes) return
    this.#held -= claim.bytes - keptBytes
    if (!claim.isLarge) this.#heldBySmall -= claim.bytes - keptBytes
    claim.bytes = keptBytes
    if (keptBytes === 0) this.#claims.delete(claim)
  }

  release(claim: Claim): void {
    this.shrink(claim, 0)
  }

  #laneOf(claim: Claim, bytes: number): Lane {
    if (claim.bytes > 0) return "growing"
    return bytes <= this.#options.smallBytes ? "small" : "large"
  }

  /**
   * The longest wait for so many bytes in a lane.
   * @see https://queue.acm.org/detail.cfm?id=2839461 "controlled delay"
   */
  #waitMs(lane: Lane, bytes: number): number {
    const { waitMs, patienceMs, standingMs } = this.#options
    const stands = lane !== "growing" && Date.now() - this.#standingSince[lane] > standingMs
    return stands ? Math.min(waitMs, patienceMs(bytes)) : waitMs
  }

  #removeGone(): void {
    const now = Date.now()
    this.#line = this.#line.filter(({ checksAt }) => checksAt + GONE_AFTER_MS >= now)
  }

  /** What the waiters before this one in its lane want. */
  #before(ticket: Ticket): Wanted {
    const now = Date.now()
    let [claims, bytes] = [0, 0]
    for (const other of this.#line) {
      if (other === ticket) break
      if (other.lane !== ticket.lane || other.checksAt + GONE_AFTER_MS < now) continue
      claims++
      bytes += other.bytes
    }
    return { claims, bytes }
  }

  /**
   * Takes room that is free besides what the waiters before want. Otherwise the line would move one place
   * with each check of its first waiter.
   */
  #take(claim: Claim, { lane, bytes }: Pick<Ticket, "lane" | "bytes">, before: Wanted): boolean {
    const wanted = { claims: before.claims + 1, bytes: before.bytes + bytes }
    if (!this.#hasRoom(lane, wanted)) this.#expire()
    if (!this.#hasRoom(lane, wanted)) return false
    if (lane !== "growing") claim.isLarge = lane === "large"
    claim.bytes += bytes
    claim.expiresAt = Date.now() + this.#options.claimMs
    this.#claims.add(claim)
    this.#held += bytes
    if (!claim.isLarge) this.#heldBySmall += bytes
    return true
  }

  #hasRoom(lane: Lane, { claims, bytes }: Wanted): boolean {
    const { largeBytes, largeClaims, smallTotalBytes, bytes: all } = this.#options
    if (lane === "large")
      return this.#held + bytes <= largeBytes && this.#largeClaims() + claims <= largeClaims
    return this.#held + bytes <= all && (lane === "growing" || this.#heldBySmall + bytes <= smallTotalBytes)
  }

  #largeClaims(): number {
    let count = 0
    for (const { isLarge } of this.#claims) if (isLarge) count++
    return count
  }

  #expire(): void {
    const now = Date.now()
    for (const claim of this.#claims) if (claim.expiresAt <= now) this.release(claim)
  }
}
