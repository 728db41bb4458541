/** A place that a reader holds while it reads. */
export interface Place {
  /** Says that the reader is still there. */
  keep(): void
  leave(): void
}

/** Places of an isolate for readers that stay for long. The runtime ends a request whose caller left without running any more of it, so a place also ends by time. */
export class Places {
  readonly #most: number
  readonly #goneAfterMs: number
  /** When each reader last said that it is there, in milliseconds since the epoch. */
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
