export interface GroupLimits {
  /** The number of groups that an isolate writes at once, unless one of them is slow. */
  running: number
  /** A group that takes longer than this, in milliseconds, does not delay the next one. */
  slowMs: number
  /** The most items of a group. */
  items: number
  /** The largest sum of its items' weights. */
  weight: number
  /** The most items that wait at once. */
  waiting: number
  /** The longest wait of an item, in milliseconds. */
  turnMs: number
}

/** A request's item for a group. */
export interface Joining<Item, Result> {
  item: Item
  weight: number
  /** The time after which the answer is not needed, in milliseconds since the epoch. */
  answerBy: number
  /** Writes a group on behalf of the calling request. Returns a result for each item. */
  run: (items: readonly Item[]) => Promise<readonly Result[]>
}

/** `no turn`: the item was not written. `no answer`: it is in a group, and may be written. */
export type Joined<Result> = { result: Result } | "no turn" | "no answer"

/** A group that is being written. */
interface Running {
  startedAt: number
  /** The time until which it counts as running, in milliseconds since the epoch. */
  countsUntil: number
}

interface Member<Item, Result> {
  item: Item
  weight: number
  /** When its request checks again, in milliseconds since the epoch. */
  looksAt: number
  /** The group that has the item. */
  group?: Running
  /** The outcome of that group. */
  outcome?: { result: Result } | { error: unknown }
}

/** A member that is this late has disconnected: the runtime stops its request without running `finally`. */
const GONE_AFTER_MS = 250
const SHORTEST_LOOK_MS = 2
const LONGEST_LOOK_MS = 50
/** The assumed time of a group, before the first one has ended. */
const FIRST_GUESS_MS = 10

/**
 * Groups the writes of concurrent requests of an isolate: while `running` groups are being written, further
 * items wait. When a group has ended, the next request writes all waiting items in one group. A lone request
 * does not wait.
 *
 * Each waiter checks by its own timer, at the expected end of a group: in workerd a promise of one request
 * must not wake another request, and the runtime ends a request that waits for nothing of its own.
 *
 * @see
 *   https://developers.cloudflare.com/workers/observability/errors/#cannot-perform-io-on-behalf-of-a-different-request
 */
export class Group<Item, Result> {
  readonly #limits: GroupLimits
  readonly #running = new Set<Running>()
  #waiting: Member<Item, Result>[] = []
  /** The average time of a group, weighted towards the last ones. */
  #usualMs = FIRST_GUESS_MS

  constructor(limits: GroupLimits) {
    this.#limits = limits
  }

  /** @throws what `run` threw, to every member of the group */
  async join(joining: Joining<Item, Result>): Promise<Joined<Result>> {
    if (this.#free()) return this.#lead(joining)
    if (this.#waiting.length >= this.#limits.waiting) return "no turn"
    const turnBy = Date.now() + this.#limits.turnMs
    const member: Member<Item, Result> = { item: joining.item, weight: joining.weight, looksAt: 0 }
    this.#waiting.push(member)
    for (;;) {
      const lookMs = this.#lookMs(member)
      member.looksAt = Date.now() + lookMs
      await new Promise((resolve) => setTimeout(resolve, lookMs))
      if (member.outcome) return resultOf(member.outcome)
      if (!member.group && (this.#free() || Date.now() >= turnBy)) {
        this.#waiting = this.#waiting.filter((other) => other !== member)
        return this.#free() ? this.#lead(joining) : "no turn"
      }
      if (Date.now() >= joining.answerBy) return "no answer"
    }
  }

  async #lead({ item, weight, answerBy, run }: Joining<Item, Result>): Promise<Joined<Result>> {
    const startedAt = Date.now()
    const group = { startedAt, countsUntil: Math.min(answerBy, startedAt + this.#limits.slowMs) }
    const members = this.#take(weight)
    for (const member of members) member.group = group
    this.#running.add(group)
    try {
      const [own, ...results] = await run([item, ...members.map((member) => member.item)])
      for (const [place, member] of members.entries()) member.outcome = { result: results[place] as Result }
      return { result: own as Result }
    } catch (error) {
      for (const member of members) member.outcome = { error }
      throw error
    } finally {
      this.#running.delete(group)
      this.#usualMs += (Date.now() - startedAt - this.#usualMs) / 4
    }
  }

  /**
   * The time until the expected end of the member's group, or of the first one before it. Checks become rarer
   * when that group is late.
   */
  #lookMs({ group }: Member<Item, Result>): number {
    const now = Date.now()
    const starts = group ? [group.startedAt] : [...this.#running].map(({ startedAt }) => startedAt)
    const leftMs = Math.min(...starts) + this.#usualMs - now
    return Math.min(LONGEST_LOOK_MS, Math.max(SHORTEST_LOOK_MS, leftMs > 0 ? leftMs : -leftMs / 4))
  }

  /** The waiters that fit into a group beside its leader. */
  #take(leaderWeight: number): Member<Item, Result>[] {
    const now = Date.now()
    const taken: Member<Item, Result>[] = []
    let weight = leaderWeight
    for (;;) {
      const [next] = this.#waiting
      if (!next || taken.length + 1 >= this.#limits.items || weight + next.weight > this.#limits.weight)
        return taken
      this.#waiting.shift()
      if (next.looksAt + GONE_AFTER_MS < now) continue
      taken.push(next)
      weight += next.weight
    }
  }

  #free(): boolean {
    const now = Date.now()
    for (const group of this.#running) if (group.countsUntil < now) this.#running.delete(group)
    return this.#running.size < this.#limits.running
  }
}

function resultOf<Result>(outcome: { result: Result } | { error: unknown }): Joined<Result> {
  if ("error" in outcome) throw outcome.error
  return outcome
}
