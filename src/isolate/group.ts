import { Line, Pause } from "./line.ts"

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
  /** Aborted when the client disconnects. An item that waits is then left out. */
  signal?: AbortSignal | undefined
  /** Writes a group on behalf of the calling request. Returns a result for each item. */
  run: (items: readonly Item[]) => Promise<readonly Result[]>
}

/** `no turn`: the item was not written. `no answer`: it is in a group, and may be written. */
export type Joined<Result> = { result: Result } | "no turn" | "no answer"

/** A group that is being written. */
interface Running {
  /** The time until which it counts as running, in milliseconds since the epoch. */
  countsUntil: number
}

interface Member<Item, Result> {
  item: Item
  weight: number
  answerBy: number
  /** Ends when the member is to lead a group, or has its outcome. */
  pause: Pause
  isInGroup: boolean
  outcome?: { result: Result } | { error: unknown }
}

/**
 * Groups the writes of concurrent requests of an isolate: while `running` groups are being written, further
 * items wait. When a group has ended, the first waiter writes all waiting items in one group. A lone request
 * does not wait.
 */
export class Group<Item, Result> {
  readonly #limits: GroupLimits
  readonly #running = new Set<Running>()
  readonly #line = new Line<Member<Item, Result>, Running>({
    take: ({ answerBy }) => this.#begin(answerBy),
    giveBack: (group) => this.#running.delete(group),
  })

  constructor(limits: GroupLimits) {
    this.#limits = limits
  }

  /** @throws what `run` threw, to every member of the group */
  async join({ item, weight, answerBy, signal, run }: Joining<Item, Result>): Promise<Joined<Result>> {
    const pause = new Pause()
    const member: Member<Item, Result> = { item, weight, answerBy, pause, isInGroup: false }
    const { turnMs, waiting: most } = this.#limits
    const waitMs = Math.min(turnMs, answerBy - Date.now())
    const group =
      this.#line.enterAtOnce(member) ?? (await this.#line.enter(member, { waitMs, most, signal, pause }))
    if (group) return this.#lead(group, member, run)
    if (!member.isInGroup) return "no turn"
    // The runtime can end the request that writes the group, so each member has a time of its own.
    if (!member.outcome) await pause.last(answerBy - Date.now())
    return member.outcome ? resultOf(member.outcome) : "no answer"
  }

  async #lead(
    group: Running,
    leader: Member<Item, Result>,
    run: Joining<Item, Result>["run"],
  ): Promise<Joined<Result>> {
    group.countsUntil = this.#countsUntil(leader.answerBy)
    const slow = setTimeout(() => this.#line.serve(), group.countsUntil - Date.now())
    const members = this.#take(leader)
    try {
      const results = await run([leader, ...members].map(({ item }) => item))
      for (const [index, member] of members.entries())
        member.outcome = { result: results[index + 1] as Result }
      return { result: results[0] as Result }
    } catch (error) {
      for (const member of members) member.outcome = { error }
      throw error
    } finally {
      clearTimeout(slow)
      this.#running.delete(group)
      // The next group is on its way before this one is answered.
      this.#line.serve()
      for (const { pause } of members) pause.end()
    }
  }

  /** The waiters that fit into a group beside its leader. */
  #take(leader: Member<Item, Result>): Member<Item, Result>[] {
    let [items, weight] = [1, leader.weight]
    const members = this.#line.takeOut((next) => {
      items++
      weight += next.weight
      return items <= this.#limits.items && weight <= this.#limits.weight
    })
    for (const member of members) member.isInGroup = true
    return members
  }

  #begin(answerBy: number): Running | undefined {
    const now = Date.now()
    for (const group of this.#running) if (group.countsUntil <= now) this.#running.delete(group)
    if (this.#running.size >= this.#limits.running) return undefined
    const group = { countsUntil: this.#countsUntil(answerBy) }
    this.#running.add(group)
    return group
  }

  #countsUntil(answerBy: number): number {
    return Math.min(answerBy, Date.now() + this.#limits.slowMs)
  }
}

function resultOf<Result>(outcome: { result: Result } | { error: unknown }): Joined<Result> {
  if ("error" in outcome) throw outcome.error
  return outcome
}
