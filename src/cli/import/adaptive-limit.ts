/**
 * Limits how many batches are in flight: halved when the service is overloaded, and raised by one for each
 * round of successes, as TCP does (additive increase, multiplicative decrease).
 */
export class AdaptiveLimit {
  readonly #most: number
  #size: number
  #taken = 0
  readonly #waiting: (() => void)[] = []

  constructor(most: number) {
    this.#most = most
    this.#size = most
  }

  get size(): number {
    return Math.floor(this.#size)
  }

  /** Resolves when one more batch may start. */
  async enter(): Promise<void> {
    while (this.#taken >= this.size) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    this.#taken++
  }

  /** Frees the place of a batch that has ended. */
  leave(): void {
    this.#taken--
    this.#waiting.shift()?.()
  }

  grow(): void {
    this.#size = Math.min(this.#most, this.#size + 1 / this.#size)
    if (this.#taken < this.size) this.#waiting.shift()?.()
  }

  shrink(): void {
    this.#size = Math.max(1, this.#size / 2)
  }
}
