export interface GroupLimits {
  /** How many groups an isolate writes at once, before one of them is slow. */
  running: number
  /** A group that takes longer does not keep the next one from starting, in milliseconds. */
  slowMs: number
  /** What one group holds. */
  items: number
  /** The sum of its items' weights. */
  weight: number
  /** How long an item waits for its turn, in milliseconds. */
  turnMs: number
}

/** What a request asks of a group. */
export interface Joining<Item, Result> {
  item: Item
  weight: number
  /** When the group's answer is of no use any more, in milliseconds since the epoch. */
  answerBy: number
  /** Writes a group, as the request that calls it. Returns a result for each item. */
  run: (items: readonly Item[]) => Promise<readonly Result[]>
}

/** `no turn`: the item was not written. `no answer`: it was taken into a group, and may be written. */
export type Joined<Result> = { result: Result } | "no turn" | "no answer"

/** `lead`: the place that is kept for the group which the woken member leads. */
type Waking<Result> = { result: Result } | { error: unknown } | { lead: symbol }

interface Member<Item, Result> {
  item: Item
  weight: number
  /** Wakes its request. A promise of one request may be resolved by another; its continuation runs in its own. */
  wake: (waking: Waking<Result>) => void
  /** When its request looks again, in milliseconds since the epoch. */
  looksAt: number
}

/** A member looks that often whether its leader is gone: the runtime ends a request that waits for nothing of its own. */
const LOOK_MS = 100
/** A member this late is gone: the runtime ends a request whose caller left without running any more of it. */
const GONE_AFTER_MS = 250

/**
 * Joins the writes of concurrent requests of an isolate: while `running` groups are under way, the next items wait, and when a group
 * ends, the first of them writes all that wait in one group. A lone request waits for nobody.
 *
 * @see https://developers.cloudflare.com/workers/configuration/compatibility-flags/#handling-cross-request-promise-resolution
 */
export class Group<Item, Result> {
  readonly #limits: GroupLimits
  /** Until when each running group counts. */
  readonly #running = new Map<symbol, number>()
  #waiting: Member<Item, Result>[] = []

  constructor(limits: GroupLimits) {
    this.#limits = limits
  }

  /** @throws what `run` threw, to every member of the group */
  async join(joining: Joining<Item, Result>): Promise<Joined<Result>> {
    if (this.#free() && this.#waiting.length === 0) return this.#lead(joining)
    const turnBy = Date.now() + this.#limits.turnMs
    const { promise, resolve: wake } = Promise.withResolvers<Waking<Result>>()
    const member: Member<Item, Result> = { item: joining.item, weight: joining.weight, wake, looksAt: Date.now() }
    this.#waiting.push(member)
    for (;;) {
      member.looksAt = Date.now() + LOOK_MS
      const waking = await orAfter(LOOK_MS, promise)
      if (waking && "error" in waking) throw waking.error
      if (waking && "result" in waking) return waking
      const waits = this.#waiting.includes(member)
      if (waking || (waits && this.#free())) {
        if (waking) this.#running.delete(waking.lead)
        this.#drop(member)
        return this.#lead(joining)
      }
      if (waits && Date.now() >= turnBy) {
        this.#drop(member)
        return "no turn"
      }
      if (Date.now() >= joining.answerBy) return "no answer"
    }
  }

  async #lead({ item, weight, answerBy, run }: Joining<Item, Result>): Promise<Joined<Result>> {
    const members = this.#take(weight)
    const group = Symbol()
    this.#running.set(group, Math.min(answerBy, Date.now() + this.#limits.slowMs))
    try {
      const [own, ...results] = await run([item, ...members.map((member) => member.item)])
      for (const [place, { wake }] of members.entries()) wake({ result: results[place] as Result })
      return { result: own as Result }
    } catch (error) {
      for (const { wake } of members) wake({ error })
      throw error
    } finally {
      this.#running.delete(group)
      this.#handOver()
    }
  }

  /** The first of those who wait leads the next group. */
  #handOver(): void {
    const now = Date.now()
    this.#waiting = this.#waiting.filter(({ looksAt }) => looksAt + GONE_AFTER_MS >= now)
    const next = this.#free() ? this.#waiting.shift() : undefined
    if (!next) return
    const lead = Symbol()
    this.#running.set(lead, now + LOOK_MS)
    next.wake({ lead })
  }

  /** Those who wait, as many as fit into a group beside its leader. */
  #take(leaderWeight: number): Member<Item, Result>[] {
    const now = Date.now()
    const taken: Member<Item, Result>[] = []
    let weight = leaderWeight
    for (;;) {
      const [next] = this.#waiting
      if (!next || taken.length + 1 >= this.#limits.items || weight + next.weight > this.#limits.weight) return taken
      this.#waiting.shift()
      if (next.looksAt + GONE_AFTER_MS < now) continue
      taken.push(next)
      weight += next.weight
    }
  }

  #drop(member: Member<Item, Result>): void {
    this.#waiting = this.#waiting.filter((other) => other !== member)
  }

  #free(): boolean {
    const now = Date.now()
    for (const [group, until] of this.#running) if (until < now) this.#running.delete(group)
    return this.#running.size < this.#limits.running
  }
}

/** What `promise` becomes, undefined when it takes longer. */
async function orAfter<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, ms, undefined)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
