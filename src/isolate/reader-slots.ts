/** The slot of a reader while it reads. */
export interface ReaderSlot {
  /** Confirms that the reader is still connected. */
  renew(): void
  release(): void
}

export interface SlotOptions {
  most: number
  /** A reader that has not renewed its slot for this long, in milliseconds, has gone. */
  goneAfterMs: number
}

/** The share of the slots that one owner may have. */
const OWNER_SHARE = 0.5

/** How many of so many slots one owner may have. */
export const slotsOfOneOwner = (most: number): number => Math.ceil(most * OWNER_SHARE)

/** So long after a reader was refused for lack of a slot, the slots count as wanted by others. */
const WANTED_MS = 10_000

/**
 * The slots of an isolate for long-running readers. One owner has at most half of them. The runtime stops the
 * request of a disconnected caller without running `release`, so a slot also expires.
 */
export class ReaderSlots {
  readonly #options: SlotOptions
  readonly #readers = new Set<{ owner: string | undefined; renewedAt: number }>()
  #refusedAt = 0

  constructor(options: SlotOptions) {
    this.#options = options
  }

  /**
   * @param owner undefined: nobody's share limits it
   * @returns undefined when all slots, or all of this owner, are taken
   */
  take(owner?: string, now = Date.now()): ReaderSlot | undefined {
    const { most, goneAfterMs } = this.#options
    let own = 0
    for (const reader of this.#readers) {
      if (reader.renewedAt < now - goneAfterMs) this.#readers.delete(reader)
      else if (reader.owner === owner) own++
    }
    if (owner !== undefined && own >= slotsOfOneOwner(most)) return undefined
    if (this.#readers.size >= most) {
      this.#refusedAt = now
      return undefined
    }
    const reader = { owner, renewedAt: now }
    this.#readers.add(reader)
    return {
      renew: () => {
        reader.renewedAt = Date.now()
        this.#readers.add(reader)
      },
      release: () => void this.#readers.delete(reader),
    }
  }

  /** Whether another reader was refused just now because all slots were taken. */
  isWanted(now = Date.now()): boolean {
    return now - this.#refusedAt < WANTED_MS
  }
}
