/** A turn of the event loop that is later than this, in milliseconds, has more work than CPU. */
const LATE_MS = 300
/** The requests inside while the event loop is in time. More can't wait in line anyway. */
const MOST = 512
/** The requests inside however late the event loop is, so that the isolate learns when it is fast again. */
const LEAST = 32
const SHRINKING = 0.7
const GROWTH = 1.25

/**
 * The runtime can end a request without a word when its client disconnects. A request then counts as inside
 * for this time, in milliseconds.
 */
const LONGEST_MS = 20_000

/** A request inside. */
export interface Inside {
  enteredAt: number
}

/**
 * How many requests may be inside an isolate at once, by how late its event loop is: fewer after a late turn,
 * and more again when turns are in time.
 *
 * A request that enters and is refused later, because its time has passed, costs as much CPU as one that is
 * served. The lines of the isolate do not see that: they count who waits, not how fast the isolate is.
 *
 * Times are in milliseconds since the epoch.
 *
 * @see https://github.com/STRML/node-toobusy for the same measure
 */
export class Entrance {
  #most = MOST
  /** In order of entering. */
  readonly #inside = new Set<Inside>()

  /** Undefined when as many are inside as may be. */
  enter(now: number): Inside | undefined {
    if (this.#inside.size >= this.#most) return undefined
    const request = { enteredAt: now }
    this.#inside.add(request)
    return request
  }

  leave(request: Inside): void {
    this.#inside.delete(request)
  }

  /** Takes in how late the event loop is, in milliseconds. */
  turn(lateMs: number, now: number): void {
    for (const request of this.#inside) {
      if (request.enteredAt + LONGEST_MS > now) break
      this.#inside.delete(request)
    }
    this.#most =
      lateMs > LATE_MS
        ? Math.max(LEAST, Math.floor(Math.min(this.#most, this.#inside.size) * SHRINKING))
        : Math.min(MOST, Math.ceil(this.#most * GROWTH))
  }
}
