/**
 * The pause of one request, which any request of the isolate may end.
 *
 * Its timer ends the pause at the latest, and keeps the request alive: workerd ends a request that waits for
 * nothing but another request. Each pause continues in the context of its own request, with the
 * compatibility flag `handle_cross_request_promise_resolution`, which is on by default.
 *
 * @see https://developers.cloudflare.com/workers/configuration/compatibility-flags/
 */
export class Pause {
  #resume: (() => void) | undefined
  #isEnded = false

  /** Ends the pause; before it has begun: ends the next one as soon as it begins. */
  end(): void {
    this.#isEnded = true
    this.#resume?.()
  }

  /** Pauses the calling request until `end`, and for at most `ms` milliseconds. */
  async last(ms: number): Promise<void> {
    if (!this.#isEnded) {
      let timer: ReturnType<typeof setTimeout> | undefined
      await new Promise<void>((resolve) => {
        this.#resume = resolve
        timer = setTimeout(resolve, ms)
      })
      clearTimeout(timer)
    }
    this.#resume = undefined
    this.#isEnded = false
  }
}

/** Where the turns of a line come from. */
export interface Turns<Want, Turn extends object> {
  /**
   * Takes a turn for `want`; undefined when there is none now. `later`: the waiter has to wait for turns of
   * its own to end, and those behind it may pass.
   */
  take(want: Want): Turn | "later" | undefined
  /**
   * The turns of the one who sends `want`. Of the senders that wait, the one with the fewest is served first.
   * Such a line has no waiters that come later. Default: order of arrival alone.
   */
  heldBy?(want: Want): number
  /** Returns a turn that was taken and not used. It may call `serve`, also that of other lines. */
  giveBack(turn: Turn): void
}

/** How a request waits. */
export interface Waiting {
  /** The longest wait, in milliseconds. */
  waitMs: number
  /** With so many waiters in the line, the request does not wait. Default: no limit. */
  most?: number
  /** Waits before all that are not ahead. */
  ahead?: boolean
  /** Aborted when the client of the request disconnects. The request then leaves the line. */
  signal?: AbortSignal | undefined
  /** Ends when the wait is over. Give one to be able to end the wait. */
  pause?: Pause
}

interface Waiter<Want, Turn> {
  want: Want
  ahead: boolean
  pause: Pause
  /** Milliseconds since the epoch. */
  endsAt: number
  /** `late`: it did not confirm its turn in time. `out`: it has left the line. */
  state: "waiting" | { given: Turn; at: number } | "late" | "out"
}

/** The request of a waiter that has not confirmed its turn for this long has probably ended. */
const CONFIRM_MS = 250
/** A waiter whose wait should have ended so long ago is dropped. */
const LATE_MS = 250

/**
 * The line of an isolate's requests for turns: first come, first served, or one sender after the other.
 *
 * Whoever frees a turn calls `serve`, which takes the turn for the first waiter and ends its pause. The
 * waiter confirms the turn when it continues. When the runtime has ended its request meanwhile, it never
 * does, and the turn goes to the next one. A waiter that was only late is the first of the line again.
 */
export class Line<Want, Turn extends object> {
  readonly #turns: Turns<Want, Turn>
  readonly #waiters: Waiter<Want, Turn>[] = []
  /** The waiters that have not confirmed their turn yet, in the order of their turns. */
  readonly #unconfirmed = new Set<Waiter<Want, Turn>>()

  constructor(turns: Turns<Want, Turn>) {
    this.#turns = turns
  }

  /** The number of waiters. */
  get length(): number {
    return this.#waiters.length
  }

  /** The number of waiters whose wants `counts`. */
  count(counts: (want: Want) => boolean): number {
    return this.#waiters.reduce((sum, { want }) => sum + (counts(want) ? 1 : 0), 0)
  }

  /**
   * Takes a turn in order of arrival.
   *
   * @returns undefined when there was no turn in time, when too many wait, or when the client has
   *   disconnected
   */
  async enter(want: Want, waiting: Waiting): Promise<Turn | undefined> {
    const { waitMs, most = Number.POSITIVE_INFINITY, ahead = false, signal, pause = new Pause() } = waiting
    if (signal?.aborted) return undefined
    const waiter = this.#add({ want, ahead, pause, state: "waiting", endsAt: Date.now() + waitMs })
    const turn = this.#confirm(waiter)
    if (turn) return turn
    const leave = () => this.#leave(waiter)
    if (this.#waiters.length > most) {
      leave()
      return undefined
    }
    signal?.addEventListener("abort", leave)
    try {
      return await this.#wait(waiter)
    } finally {
      signal?.removeEventListener("abort", leave)
    }
  }

  /** Takes a turn that is free now and that no waiter before wants. */
  enterAtOnce(want: Want): Turn | undefined {
    const endsAt = Number.POSITIVE_INFINITY
    const waiter = this.#add({ want, ahead: false, pause: new Pause(), state: "waiting", endsAt })
    const turn = this.#confirm(waiter)
    if (!turn) this.#leave(waiter)
    return turn
  }

  /** Adds a waiter behind those of its kind, and serves it at once if it can be. */
  #add(waiter: Waiter<Want, Turn>): Waiter<Want, Turn> {
    const { ahead } = waiter
    const index = ahead ? this.#waiters.findLastIndex((other) => other.ahead) + 1 : this.#waiters.length
    this.#waiters.splice(index, 0, waiter)
    this.serve()
    return waiter
  }

  /** Gives free turns to the first waiters. */
  serve(): void {
    this.#takeBackUnused()
    const now = Date.now()
    for (let skipped = 0; skipped < this.#waiters.length; ) {
      const index = this.#nextIndex(skipped)
      const next = this.#waiters[index] as Waiter<Want, Turn>
      // Where the machine is too busy to wake it in time, it has waited for too long, and so has its client.
      const turn = next.endsAt + LATE_MS < now ? "out" : this.#turns.take(next.want)
      if (!turn) return
      if (turn === "later") {
        skipped++
        continue
      }
      this.#waiters.splice(index, 1)
      if (turn === "out") next.state = "out"
      else {
        next.state = { given: turn, at: now }
        this.#unconfirmed.add(next)
      }
      next.pause.end()
    }
  }

  #nextIndex(skipped: number): number {
    const { heldBy } = this.#turns
    if (!heldBy) return skipped
    let [first, least] = [0, Number.POSITIVE_INFINITY]
    for (let index = 0; least > 0 && index < this.#waiters.length; index++) {
      const { want, ahead } = this.#waiters[index] as Waiter<Want, Turn>
      if (ahead) return index
      const held = heldBy.call(this.#turns, want)
      if (held < least) [first, least] = [index, held]
    }
    return first
  }

  /** Takes the first waiters out of the line, while `accept` accepts them. Their pauses go on. */
  takeOut(accept: (want: Want) => boolean): Want[] {
    const refused = this.#waiters.findIndex(({ want }) => !accept(want))
    const taken = this.#waiters.splice(0, refused === -1 ? this.#waiters.length : refused)
    for (const waiter of taken) waiter.state = "out"
    return taken.map(({ want }) => want)
  }

  async #wait(waiter: Waiter<Want, Turn>): Promise<Turn | undefined> {
    for (;;) {
      await waiter.pause.last(waiter.endsAt - Date.now())
      if (waiter.state === "late") {
        waiter.state = "waiting"
        this.#waiters.unshift(waiter)
      }
      // No event tells of a turn that is free because the runtime has ended the request that had it.
      if (waiter.state === "waiting") this.serve()
      const turn = this.#confirm(waiter)
      if (turn || waiter.state === "out") return turn
      if (Date.now() >= waiter.endsAt) this.#leave(waiter)
    }
  }

  #confirm(waiter: Waiter<Want, Turn>): Turn | undefined {
    if (typeof waiter.state === "string") return undefined
    const { given } = waiter.state
    this.#unconfirmed.delete(waiter)
    waiter.state = "out"
    return given
  }

  #leave(waiter: Waiter<Want, Turn>): void {
    if (waiter.state === "out") return
    const unused = this.#confirm(waiter)
    if (unused) this.#turns.giveBack(unused)
    const index = this.#waiters.indexOf(waiter)
    if (index !== -1) this.#waiters.splice(index, 1)
    waiter.state = "out"
    waiter.pause.end()
    this.serve()
  }

  #takeBackUnused(): void {
    const now = Date.now()
    for (const waiter of this.#unconfirmed) {
      if (typeof waiter.state === "string" || waiter.state.at + CONFIRM_MS > now) return
      const { given } = waiter.state
      this.#unconfirmed.delete(waiter)
      waiter.state = "late"
      this.#turns.giveBack(given)
    }
  }
}
