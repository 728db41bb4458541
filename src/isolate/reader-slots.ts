/** The slot of a reader while it reads. */
export interface ReaderSlot {
  /** Confirms that the reader is still connected. */
  renew(): void
  release(): void
}

/**
 * The slots of an isolate for long-running readers. The runtime stops the request of a disconnected caller
 * without running `release`, so a slot also expires.
 */
export class ReaderSlots {
  readonly #most: number
  readonly #goneAfterMs: number
  /** The time of each reader's last confirmation, in milliseconds since the epoch. */
  readonly #renewedAt = new Map<symbol, number>()

  constructor({ most, goneAfterMs }: { most: number; goneAfterMs: number }) {
    this.#most = most
    this.#goneAfterMs = goneAfterMs
  }

  /** Returns undefined when all slots are taken. */
  take(now = Date.now()): ReaderSlot | undefined {
    for (const [reader, renewedAt] of this.#renewedAt)
      if (renewedAt < now - this.#goneAfterMs) this.#renewedAt.delete(reader)
    if (this.#renewedAt.size >= this.#most) return undefined
    const reader = Symbol()
    this.#renewedAt.set(reader, now)
    return {
      renew: () => void this.#renewedAt.set(reader, Date.now()),
      release: () => void this.#renewedAt.delete(reader),
    }
  }
}
