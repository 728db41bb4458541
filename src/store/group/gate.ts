/** A statement's request for a place. */
export interface Entry {
  /** The longest wait, in milliseconds. */
  waitMs: number
  /** The longest time of the statement, in milliseconds. Its place is free after this time in any case. */
  longestMs: () => number
  /** Whether the statement continues a started request, and goes before others. */
  ahead: boolean
}

interface Ticket {
  ahead: boolean
  /** When its owner checks again, in milliseconds since the epoch. */
  looksAt: number
}

/** An owner that is this late has disconnected: the runtime stops its request without running `finally`. */
const GONE_AFTER_MS = 250

const SHORTEST_LOOK_MS = 2
const LONGEST_LOOK_MS = 50

/**
 * Limits the number of concurrent statements. A bounded number of others wait in order of arrival for a
 * bounded time.
 *
 * The requests of an isolate share it. Each waiter checks again by its own timer, sooner at the front of the
 * line: in workerd a promise of one request must not wake another request.
 *
 * @see
 *   https://developers.cloudflare.com/workers/observability/errors/#cannot-perform-io-on-behalf-of-a-different-request
 */
export class Gate {
  readonly #limits: { running: number; waiting: number }
  /** The latest end of each running statement. */
  readonly #running = new Map<symbol, number>()
  #line: Ticket[] = []

  constructor(limits: { running: number; waiting: number }) {
    this.#limits = limits
  }

  /**
   * @returns a function that frees the statement's place; undefined when there was none in time, or too many
   * wait
   */
  async enter({ waitMs, longestMs, ahead }: Entry): Promise<(() => void) | undefined> {
    const givesUpAt = Date.now() + waitMs
    if (!ahead && this.#waiting() >= this.#limits.waiting) return undefined
    const ticket: Ticket = { ahead, looksAt: Date.now() }
    this.#line.splice(
      ahead ? this.#line.findLastIndex((other) => other.ahead) + 1 : this.#line.length,
      0,
      ticket,
    )
    try {
      for (;;) {
        const place = this.#placeOf(ticket)
        if (place < this.#limits.running - this.#inFlight()) return this.#begin(Date.now() + longestMs())
        const now = Date.now()
        if (now >= givesUpAt) return undefined
        const lookMs = Math.min(
          LONGEST_LOOK_MS,
          SHORTEST_LOOK_MS * Math.ceil((place + 1) / this.#limits.running),
        )
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

  /** The number of waiters before it. */
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
