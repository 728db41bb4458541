import { Line } from "./line.ts"

/** A statement that asks for its turn. */
export interface Entry {
  /** The longest wait, in milliseconds. */
  waitMs: number
  /**
   * The longest time of the statement, in milliseconds. After it the statement counts as ended in any case.
   */
  longestMs: () => number
  /** Whether the statement continues a started request, and goes before others. */
  ahead: boolean
  /** Whose statement it is; undefined: nobody's, so that no share of an owner limits it. */
  owner?: string | undefined
  /** Aborted when the client disconnects. The statement then leaves the line. */
  signal?: AbortSignal | undefined
}

interface Running {
  owner: string | undefined
  /** Milliseconds since the epoch. */
  endsBy: number
}

/** The share of the waiters that are of one owner. */
const OWNER_SHARE = 0.5

/**
 * Limits the concurrent statements of an isolate. A bounded number of others wait for a bounded time. The
 * owner with the fewest statements goes first, so that no owner's requests wait behind all of another's.
 */
export class StatementGate {
  readonly #limits: { running: number; waiting: number }
  readonly #running = new Set<Running>()
  readonly #line = new Line<Entry, Running>({
    take: ({ longestMs, owner }) => this.#begin(longestMs(), owner),
    heldBy: ({ owner }) => this.#heldBy(owner),
    giveBack: (statement) => this.#running.delete(statement),
  })

  constructor(limits: { running: number; waiting: number }) {
    this.#limits = limits
  }

  /** Whether as many statements wait as may wait. */
  get isFull(): boolean {
    return this.#line.length >= this.#limits.waiting
  }

  /**
   * @returns a function that ends the statement's turn; undefined when there was no turn in time, when too
   * many wait, or when the client has disconnected
   */
  async enter(entry: Entry): Promise<(() => void) | undefined> {
    const { waitMs, longestMs, ahead, signal } = entry
    if (!ahead && this.#hasOwnersWaiters(entry)) return undefined
    const most = ahead ? Number.POSITIVE_INFINITY : this.#limits.waiting
    const statement = await this.#line.enter(entry, { waitMs, ahead, signal, most })
    if (!statement) return undefined
    statement.endsBy = Date.now() + longestMs()
    return () => {
      this.#running.delete(statement)
      this.#line.serve()
    }
  }

  #heldBy(owner: string | undefined): number {
    let held = 0
    for (const statement of this.#running) if (statement.owner === owner) held++
    return held
  }

  /** Whether as many statements of the owner wait as may wait. */
  #hasOwnersWaiters({ owner }: Entry): boolean {
    const most = this.#limits.waiting * OWNER_SHARE
    if (owner === undefined || this.#line.length < most) return false
    return this.#line.count((other) => other.owner === owner) >= most
  }

  #begin(longestMs: number, owner: string | undefined): Running | undefined {
    const now = Date.now()
    for (const statement of this.#running) if (statement.endsBy < now) this.#running.delete(statement)
    if (this.#running.size >= this.#limits.running) return undefined
    const statement = { owner, endsBy: now + longestMs }
    this.#running.add(statement)
    return statement
  }
}
