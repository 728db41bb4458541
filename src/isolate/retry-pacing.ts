/**
 * The shortest and the longest `Retry-After` of an isolate without room. The client's deadline of 30 seconds
 * has time for three attempts.
 */
export const SHORTEST_RETURN_SECONDS = 1
export const LONGEST_RETURN_SECONDS = 10
/** The share of the admissions that returning senders get. The others are for new requests. */
const RETURNING_SHARE = 0.5
/** The rate of admissions is that of about this time. */
const RATE_OVER_MS = 5000

/**
 * Chooses when refused senders return: one after the other, half as fast as requests are admitted. After a
 * constant time more of them would return than there is room for, and to refuse them again takes the CPU that
 * is needed to store.
 *
 * Times are in milliseconds since the epoch.
 *
 * @see https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm "virtual scheduling"
 */
export class RetryPacing {
  #admittedPerMs = 0
  #countedAt = 0
  /** The time that the last refused sender was given. */
  #lastReturn = 0

  admitted(now: number): void {
    this.#admittedPerMs = this.#rate(now) + 1 / RATE_OVER_MS
    this.#countedAt = now
  }

  /** Gives a refused sender the next free time, and returns the whole seconds until then: from 1 to 10. */
  next(now: number): number {
    const returnsAt = Math.max(this.#lastReturn, now) + 1 / (RETURNING_SHARE * this.#rate(now))
    this.#lastReturn = Math.min(returnsAt, now + LONGEST_RETURN_SECONDS * 1000)
    return Math.max(SHORTEST_RETURN_SECONDS, Math.ceil((this.#lastReturn - now) / 1000))
  }

  /** The admissions to expect within `ms` milliseconds. */
  admittedWithin(ms: number, now: number): number {
    return this.#rate(now) * ms
  }

  /** Admissions a millisecond. Older ones count less and less. */
  #rate(now: number): number {
    return this.#admittedPerMs * Math.exp((this.#countedAt - now) / RATE_OVER_MS)
  }
}
