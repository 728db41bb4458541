/** A place that a reader holds while it reads. */
export interface Place {
  /** Confirms that the reader is still connected. */
  keep(): void
  leave(): void
}

/**
 * The places of an isolate for long-running readers. The runtime stops the request of a disconnected caller
 * without running `leave`, so a place also expires.
 */
export class Places {
  readonly #most: number
  readonly #goneAfterMs: number
  /** The time of each reader's last confirmation, in milliseconds since the epoch. */
  readonly #seen = new Map<symbol, number>()

  constructor({ most, goneAfterMs }: { most: number; goneAfterMs: number }) {
    this.#most = most
    this.#goneAfterMs = goneAfterMs
  }

  /** Returns undefined when all places are taken. */
  take(now = Date.now()): Place | undefined {
    for (const [reader, seenAt] of this.#seen) if (seenAt < now - this.#goneAfterMs) this.#seen.delete(reader)
    if (this.#seen.size >= this.#most) return undefined
    const reader = Symbol()
    this.#seen.set(reader, now)
    return {
      keep: () => void this.#seen.set(reader, Date.now()),
      leave: () => void this.#seen.delete(reader),
    }
  }
}
