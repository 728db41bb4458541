export interface GateLimits {
  maxCount: number
  maxBytes?: number | undefined
  /** Callers that may wait; the next one is refused. */
  maxWaiting?: number | undefined
  /** The error's message for a caller that is refused because too many wait. */
  tooManyWait?: string | undefined
}

interface Waiting {
  bytes: number
  enter: () => void
  refuse: (error: Error) => void
}

/** Admits callers while there is room, in the order in which they came. */
export class BufferGate {
  readonly #limits: GateLimits
  #count = 0
  #bytes = 0
  readonly #waiting: Waiting[] = []
  #closedBy: Error | undefined

  constructor(limits: GateLimits) {
    this.#limits = limits
  }

  /** Whether the next caller would wait. */
  get isFull(): boolean {
    return this.#waiting.length > 0 || !this.#hasRoom(0)
  }

  /**
   * Resolves when there is room. The caller leaves with `leave`.
   *
   * @throws {Error} too many callers wait, or the gate is closed
   */
  async enter(bytes = 0): Promise<void> {
    if (this.#closedBy) throw this.#closedBy
    if (this.#waiting.length === 0 && this.#hasRoom(bytes)) return this.force(1, bytes)
    if (this.#waiting.length >= (this.#limits.maxWaiting ?? Number.POSITIVE_INFINITY))
      throw new Error(this.#limits.tooManyWait)
    await new Promise<void>((enter, refuse) => this.#waiting.push({ bytes, enter, refuse }))
  }

  /** Counts callers that are inside already, whether there is room or not. */
  force(count: number, bytes = 0): void {
    this.#count += count
    this.#bytes += bytes
  }

  leave(count: number, bytes = 0): void {
    this.force(-count, -bytes)
    // The place is taken here, before the caller resumes, so that no other caller takes it.
    for (let next = this.#waiting[0]; next && this.#hasRoom(next.bytes); next = this.#waiting[0]) {
      this.#waiting.shift()
      this.force(1, next.bytes)
      next.enter()
    }
  }

  /** Refuses every caller that waits, and every later one. */
  close(error: Error): void {
    this.#closedBy = error
    for (const { refuse } of this.#waiting.splice(0)) refuse(error)
  }

  /** An empty gate admits every caller: one that is larger than the limit would wait forever. */
  #hasRoom(bytes: number): boolean {
    const { maxCount, maxBytes = Number.POSITIVE_INFINITY } = this.#limits
    return this.#count === 0 || (this.#count < maxCount && this.#bytes + bytes <= maxBytes)
  }
}
