/** What a request holds of the budget until it is released, or has been held too long. */
export interface Claim {
  bytes: number
  expiresAt: number
}

/** A claim on nothing yet. */
export const newClaim = (): Claim => ({ bytes: 0, expiresAt: 0 })

export interface BudgetOptions {
  /** What all claims together may hold. */
  bytes: number
  /** What all claims together may hold when another one above `smallBytes` is taken, so that large bodies leave room for small ones. */
  largeBytes: number
  smallBytes: number
  /** How many may wait at once. */
  waiters: number
  waitMs: number
  /** The runtime ends a request without running any more of it when its client leaves: its claim ends by time. */
  claimMs: number
}

/** Each lane has an order of its own. A request that holds a part of its claim must not wait for those that hold none. */
type Lane = "growing" | "small" | "large"

interface Ticket {
  lane: Lane
  /** When its owner looks again, in milliseconds since the epoch. */
  looksAt: number
}

/** An owner this late is gone. */
const GONE_AFTER_MS = 1000

/** The first of a lane looks this often, and each one behind it later, up to the longest. */
const SHORTEST_LOOK_MS = 5
const LONGEST_LOOK_MS = 250

/**
 * Bytes that requests hold at once. A request that finds no room waits, first come, first served, and is refused after a bounded time.
 *
 * Each waiter looks again by a timer of its own: in workerd one request must not be woken by another one's promise, and the timers of
 * a request end when its client leaves.
 *
 * @see https://developers.cloudflare.com/workers/observability/errors/#cannot-perform-io-on-behalf-of-a-different-request
 */
export class ByteBudget {
  readonly #options: BudgetOptions
  readonly #claims = new Set<Claim>()
  #line: Ticket[] = []
  #held = 0

  constructor(options: BudgetOptions) {
    this.#options = options
  }

  get held(): number {
    return this.#held
  }

  /** Adds `bytes` to a claim. False, and nothing added, when there is no room for them in time, or too many wait already. */
  async grow(claim: Claim, bytes: number): Promise<boolean> {
    if (this.growAtOnce(claim, bytes)) return true
    const lane = this.#laneOf(claim, bytes)
    if (lane !== "growing" && this.#line.length >= this.#options.waiters) return false
    const givesUpAt = Date.now() + this.#options.waitMs
    const ticket: Ticket = { lane, looksAt: 0 }
    this.#line.push(ticket)
    try {
      for (let now = Date.now(); now < givesUpAt; now = Date.now()) {
        const lookMs = Math.min(LONGEST_LOOK_MS, SHORTEST_LOOK_MS * (this.#placeOf(ticket) + 1), givesUpAt - now)
        ticket.looksAt = now + lookMs
        await new Promise((resolve) => setTimeout(resolve, lookMs))
        if (this.#placeOf(ticket) === 0 && this.#take(claim, bytes, lane)) return true
      }
      return false
    } finally {
      this.#line = this.#line.filter((one) => one !== ticket)
    }
  }

  /** The same without a wait. */
  growAtOnce(claim: Claim, bytes: number): boolean {
    const lane = this.#laneOf(claim, bytes)
    this.#leaveOutGone()
    return !this.#line.some((other) => other.lane === lane) && this.#take(claim, bytes, lane)
  }

  /** Gives back all but `keptBytes` of a claim. */
  shrink(claim: Claim, keptBytes: number): void {
    if (!this.#claims.has(claim) || claim.bytes <= keptBytes) return
    this.#held -= claim.bytes - keptBytes
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

  #leaveOutGone(): void {
    const now = Date.now()
    this.#line = this.#line.filter(({ looksAt }) => looksAt + GONE_AFTER_MS >= now)
  }

  /** How many of its lane are before it. */
  #placeOf(ticket: Ticket): number {
    const now = Date.now()
    let place = 0
    for (const other of this.#line) {
      if (other === ticket) break
      if (other.lane === ticket.lane && other.looksAt + GONE_AFTER_MS >= now) place++
    }
    return place
  }

  #take(claim: Claim, bytes: number, lane: Lane): boolean {
    const limit = lane === "large" ? this.#options.largeBytes : this.#options.bytes
    if (this.#held + bytes > limit) this.#expire()
    if (this.#held + bytes > limit) return false
    claim.bytes += bytes
    claim.expiresAt = Date.now() + this.#options.claimMs
    this.#claims.add(claim)
    this.#held += bytes
    return true
  }

  #expire(): void {
    const now = Date.now()
    for (const claim of this.#claims) if (claim.expiresAt <= now) this.release(claim)
  }
}
