export interface GroupLimits {
  /** How many groups an isolate writes at once, before one of them is slow. */
  running: number
  /** A group that takes longer does not keep the next one from starting, in milliseconds. */
  slowMs: number
  /** What one group holds. */
  items: number
  /** The sum of its items' weights. */
  weight: number
  /** How many items wait for their turn at once. */
  waiting: number
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

/** A group that is under way. */
interface Running {
  startedAt: number
  /** Until when it counts, in milliseconds since the epoch. */
  countsUntil: number
}

interface Member<Item, Result> {
  item: Item
  weight: number
  /** When its request looks again, in milliseconds since the epoch. */
  looksAt: number
  /** The group that has taken it. */
  group?: Running
  /** What became of that group. */
  outcome?: { result: Result } | { error: unknown }
}

/** A member this late is gone: the runtime ends a request whose caller left without running any more of it. */
const GONE_AFTER_MS = 250
const SHORTEST_LOOK_MS = 2
const LONGEST_LOOK_MS = 50
/** How long a group takes, before the first has ended. */
const FIRST_GUESS_MS = 10

/**
 * Joins the writes of concurrent requests of an isolate: while `running` groups are under way, the next items wait, and when a group has
 * ended, the next request writes all that wait in one group. A lone request waits for nobody.
 *
 * Each that waits looks by a timer of its own, when a group should have ended: in workerd one request must not be woken by another one's
 * promise, and the runtime ends a request that waits for nothing of its own.
 *
 * @see https://developers.cloudflare.com/workers/observability/errors/#cannot-perform-io-on-behalf-of-a-different-request
 */
export class Group<Item, Result> {
  readonly #limits: GroupLimits
  readonly #running = new Set<Running>()
  #waiting: Member<Item, Result>[] = []
  /** How long a group takes, the last ones counting most. */
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

  /** Until the member's group should have ended, or the first of those before it. The later that one is, the seldomer the looks. */
  #lookMs({ group }: Member<Item, Result>): number {
    const now = Date.now()
    const starts = group ? [group.startedAt] : [...this.#running].map(({ startedAt }) => startedAt)
    const leftMs = Math.min(...starts) + this.#usualMs - now
    return Math.min(LONGEST_LOOK_MS, Math.max(SHORTEST_LOOK_MS, leftMs > 0 ? leftMs : -leftMs / 4))
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
