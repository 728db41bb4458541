import { Line } from "./line.ts"

/** A turn of the event loop that is later than this, in milliseconds, has more work than CPU. */
const LATE_MS = 300
/** The requests inside while the event loop is in time. More can't wait in line anyway. */
const MOST = 512
/** The requests inside however late the event loop is, so that the isolate learns when it is fast again. */
const LEAST = 32
const SHRINKING = 0.7
const GROWTH = 1.1
/**
 * The turns in time after a late one, before more may be inside. A small core that has too much work is in
 * time now and then: with growth after each such turn, two thirds of those inside were served in vain.
 */
const CALM_TURNS = 20

/**
 * The longest wait of a request at the entrance, in milliseconds. A wait costs nearly no CPU and a refusal
 * does, and who was refused comes again.
 */
export const LONGEST_ENTRANCE_WAIT_MS = 5000
/** The requests that wait at the entrance at once. */
const MOST_WAITING = 1024
/** The share of those that wait that are of one sender. */
const SENDER_SHARE = 0.5

/**
 * The runtime can end a request without a word when its client disconnects. A request then counts as inside
 * for this time, in milliseconds.
 */
const LONGEST_MS = 20_000

/**
 * A request that waits for its client for longer than this, in milliseconds, does not count as inside: it
 * needs no CPU, and clients that send nothing must not keep others out.
 */
const LONGEST_PAUSE_MS = 1000

/**
 * The names of a request's sender, such as its address and its key. What they say is not proved yet, so that
 * a sender counts by whichever of its names has the most requests.
 */
export type Sender = readonly string[]

/** A request inside. Times are in milliseconds since the epoch. */
export interface Inside {
  readonly sender: Sender
  enteredAt: number
  /** Since when it waits for its client. */
  pausedAt?: number | undefined
}

/**
 * How many requests may be inside an isolate at once, by how late its event loop is: fewer after a late turn,
 * and more again when turns have been in time for a while. Others wait in line, of which the sender with the
 * fewest requests inside is the first.
 *
 * A request that enters and is refused later, because its time has passed, costs as much CPU as one that is
 * served. The lines inside do not see that: they count who waits, not how fast the isolate is.
 *
 * @see https://github.com/STRML/node-toobusy for the same measure
 */
export class Entrance {
  #most = MOST
  /** The turns in time since the last late one. */
  #calmTurns = 0
  readonly #inside = new Set<Inside>()
  /** The number of requests inside by each name of their senders. */
  readonly #byName = new Map<string, number>()
  readonly #line = new Line<Sender, Inside>({
    take: (sender) => this.#begin(sender),
    heldBy: (sender) => Math.max(0, ...sender.map((name) => this.#byName.get(name) ?? 0)),
    giveBack: (request) => this.#remove(request),
  })

  /** Lets a request in at once; undefined when as many are inside as may be, or others wait. */
  enterAtOnce(sender: Sender = []): Inside | undefined {
    return this.#line.enterAtOnce(sender)
  }

  /**
   * Lets a request in when others have left.
   *
   * @returns undefined when it could not enter in time, when too many wait, also of its sender alone, or when
   *   its client has disconnected
   */
  async enter(signal: AbortSignal, sender: Sender = []): Promise<Inside | undefined> {
    if (this.#hasSendersWaiters(sender)) return undefined
    const inside = await this.#line.enter(sender, {
      waitMs: LONGEST_ENTRANCE_WAIT_MS,
      most: MOST_WAITING,
      signal,
    })
    // Its turn was given to it before it continued.
    if (inside) inside.enteredAt = Date.now()
    return inside
  }

  leave(request: Inside): void {
    if (this.#remove(request)) this.#line.serve()
  }

  /** The request waits for its client from now on. */
  pause(request: Inside): void {
    request.pausedAt = Date.now()
  }

  /**
   * The request goes on. When its pause was so long that it no longer counts as inside, it enters again,
   * before those that have not been inside.
   *
   * @returns false when it could not enter in time, or its client has disconnected
   */
  async resume(request: Inside, signal: AbortSignal): Promise<boolean> {
    request.pausedAt = undefined
    if (this.#inside.has(request)) return true
    const waiting = { waitMs: LONGEST_ENTRANCE_WAIT_MS, ahead: true, signal }
    const inside = await this.#line.enter(request.sender, waiting)
    if (!inside) return false
    this.#remove(inside)
    request.enteredAt = Date.now()
    this.#add(request)
    return true
  }

  /** Takes in how late the event loop is, in milliseconds. */
  turn(lateMs: number): void {
    const now = Date.now()
    for (const request of this.#inside) {
      const { enteredAt, pausedAt = now } = request
      if (enteredAt + LONGEST_MS <= now || pausedAt + LONGEST_PAUSE_MS <= now) this.#remove(request)
    }
    if (lateMs > LATE_MS) {
      this.#calmTurns = 0
      this.#most = Math.max(LEAST, Math.floor(Math.min(this.#most, this.#inside.size) * SHRINKING))
    } else if (++this.#calmTurns > CALM_TURNS) this.#most = Math.min(MOST, Math.ceil(this.#most * GROWTH))
    this.#line.serve()
  }

  #begin(sender: Sender): Inside | undefined {
    if (this.#inside.size >= this.#most) return undefined
    const request = { sender, enteredAt: Date.now() }
    this.#add(request)
    return request
  }

  #add(request: Inside): void {
    this.#inside.add(request)
    for (const name of request.sender) this.#byName.set(name, (this.#byName.get(name) ?? 0) + 1)
  }

  #remove(request: Inside): boolean {
    if (!this.#inside.delete(request)) return false
    for (const name of request.sender) {
      const left = (this.#byName.get(name) ?? 0) - 1
      if (left > 0) this.#byName.set(name, left)
      else this.#byName.delete(name)
    }
    return true
  }

  /** Whether as many requests of the sender wait as may wait. */
  #hasSendersWaiters(sender: Sender): boolean {
    const most = MOST_WAITING * SENDER_SHARE
    if (this.#line.length < most) return false
    return sender.some((name) => this.#line.count((other) => other.includes(name)) >= most)
  }
}
