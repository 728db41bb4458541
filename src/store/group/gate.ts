/** How a statement asks to be let through. */
export interface Entry {
  /** How long to wait at most, in milliseconds. */
  waitMs: number
  /** How many milliseconds the statement takes at most, once it may run: its place is free then, whatever became of it. */
  longestMs: () => number
  /** Before those who have not begun: a statement that continues a request. */
  ahead: boolean
}

interface Ticket {
  ahead: boolean
  /** When its owner looks again, in milliseconds since the epoch. */
  looksAt: number
}

/** An owner this late is gone: the runtime ends a request whose caller left without running any more of it. */
const GONE_AFTER_MS = 250

const SHORTEST_LOOK_MS = 2
const LONGEST_LOOK_MS = 50

/**
 * Lets a bounded number of statements run at once, first come, first served; a bounded number of others wait for a bounded time.
 *
 * The requests of an isolate share it. Each that waits looks again by a timer of its own, sooner the nearer it is to the front: in
 * workerd one request must not be woken by another one's promise.
 *
 * @see https://developers.cloudflare.com/workers/observability/errors/#cannot-perform-io-on-behalf-of-a-different-request
 */
export class Gate {
  readonly #limits: { running: number; waiting: number }
  /** When each running statement has ended at the latest. */
  readonly #running = new Map<symbol, number>()
  #line: Ticket[] = []

  constructor(limits: { running: number; waiting: number }) {
    this.#limits = limits
  }

  /** @returns what ends the statement's place; undefined when there was none in time, or too many wait already */
  async enter({ waitMs, longestMs, ahead }: Entry): Promise<(() => void) | undefined> {
    const givesUpAt = Date.now() + waitMs
    if (!ahead && this.#waiting() >= this.#limits.waiting) return undefined
    const ticket: Ticket = { ahead, looksAt: Date.now() }
    this.#line.splice(ahead ? this.#line.findLastIndex((other) => other.ahead) + 1 : this.#line.length, 0, ticket)
    try {
      for (;;) {
        const place = this.#placeOf(ticket)
        if (place < this.#limits.running - this.#inFlight()) return this.#begin(Date.now() + longestMs())
        const now = Date.now()
        if (now >= givesUpAt) return undefined
        const lookMs = Math.min(LONGEST_LOOK_MS, SHORTEST_LOOK_MS * Math.ceil((place + 1) / this.#limits.running))
        ticket.looksAt = now + lookMs
        await new Promise((resolve) => setTimeout(resolve, lookMs))
      }
    } finally {
      this.#line = this.#line.filter((other) => other !== ticket)
    }
  }

  #begin(endsBy: number): () => void {
    const statement = Symbol()
    this.#running.set(statement, endsBy)
    return () => this.#running.delete(statement)
  }

  #inFlight(): number {
    const now = Date.now()
    for (const [statement, endsBy] of this.#running) if (endsBy < now) this.#running.delete(statement)
    return this.#running.size
  }

  #waiting(): number {
    const now = Date.now()
    this.#line = this.#line.filter(({ looksAt }) => looksAt + GONE_AFTER_MS >= now)
    return this.#line.length
  }

  /** How many of the others are before it. */
  #placeOf(ticket: Ticket): number {
    const now = Date.now()
    let place = 0
    for (const other of this.#line) {
      if (other === ticket) break
      if (other.looksAt + GONE_AFTER_MS >= now) place++
    }
    return place
  }
}
