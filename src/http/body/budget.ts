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
  /** What claims above `smallBytes` together may hold, so that large bodies leave room for small ones. */
  largeBytes: number
  smallBytes: number
  /** How many may wait at once. */
  waiters: number
  waitMs: number
  /** A request that its client leaves ends without a word: its claim ends by time. */
  claimMs: number
}

const POLL_MS = 10

interface Ticket {
  isSmall: boolean
  deadline: number
}

/**
 * Bytes that requests hold at once. Who finds no room waits, first come, first served, and is refused after a bounded time.
 *
 * Each waiter looks again by its own timer: workerd forbids a request to wait for another one's promise, and ends the timers of a
 * request whose client has left.
 */
export class ByteBudget {
  readonly #options: BudgetOptions
  readonly #claims = new Set<Claim>()
  #waiting: Ticket[] = []
  #held = 0

  constructor(options: BudgetOptions) {
    this.#options = options
  }

  get held(): number {
    return this.#held
  }

  /** Adds `bytes` to a claim. False, and nothing added, when there is no room for them within the time to wait. */
  async grow(claim: Claim, bytes: number): Promise<boolean> {
    const { waiters, waitMs, smallBytes } = this.#options
    const ticket = { isSmall: claim.bytes + bytes <= smallBytes, deadline: Date.now() + waitMs }
    if (this.growAtOnce(claim, bytes)) return true
    if (this.#waiting.length >= waiters) return false
    this.#waiting.push(ticket)
    try {
      while (Date.now() < ticket.deadline) {
        await new Promise((resolve) => setTimeout(resolve, POLL_MS))
        if (this.#isNext(ticket) && this.#take(claim, bytes)) return true
      }
      return false
    } finally {
      this.#waiting = this.#waiting.filter((one) => one !== ticket)
    }
  }

  /** The same without a wait. */
  growAtOnce(claim: Claim, bytes: number): boolean {
    return this.#isNext({ isSmall: claim.bytes + bytes <= this.#options.smallBytes, deadline: 0 }) && this.#take(claim, bytes)
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

  /** Whether nobody of its size came before `ticket`. Tickets past their time don't count: their requests may have ended without a word. */
  #isNext(ticket: Ticket): boolean {
    const now = Date.now()
    this.#waiting = this.#waiting.filter((one) => one === ticket || one.deadline > now)
    return (this.#waiting.find(({ isSmall }) => isSmall === ticket.isSmall) ?? ticket) === ticket
  }

  #take(claim: Claim, bytes: number): boolean {
    const { smallBytes, largeBytes, claimMs } = this.#options
    const limit = claim.bytes + bytes <= smallBytes ? this.#options.bytes : largeBytes
    if (this.#held + bytes > limit) this.#expire()
    if (this.#held + bytes > limit) return false
    claim.bytes += bytes
    claim.expiresAt = Date.now() + claimMs
    this.#claims.add(claim)
    this.#held += bytes
    return true
  }

  #expire(): void {
    const now = Date.now()
    for (const claim of this.#claims) if (claim.expiresAt <= now) this.release(claim)
  }
}
