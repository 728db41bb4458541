import { Line } from "./line.ts"

/** A request's share of a budget, until it is released or expires. */
export interface Claim {
  bytes: number
  /** Whose share it is; undefined: nobody's, so that no share of an owner limits it. */
  readonly owner: string | undefined
  /** The lane in which it began. */
  lane: Lane | undefined
  expiresAt: number
}

/** An empty claim. */
export const newClaim = (owner?: string): Claim => ({ bytes: 0, owner, lane: undefined, expiresAt: 0 })

/** The claims of one size. */
interface LaneOptions {
  /** The largest claim of the lane, in bytes. */
  largestBytes: number
  /** The most bytes of its claims together, when one more begins. */
  bytes: number
  /** The most claims at once. Default: no limit. */
  claims?: number
}

export interface BudgetOptions {
  /** The most bytes of all claims together, also of those that have grown. */
  bytes: number
  /** From small to large. Each has room of its own, so that no size of claims has to wait for another. */
  lanes: readonly LaneOptions[]
  /**
   * Whether a claim that has begun may use all free bytes to grow, and goes before others. Otherwise it grows
   * within its lane, and the oldest claim of an owner, or of all, also beyond: claims that each hold a part
   * would otherwise wait for each other.
   */
  growsFreely: boolean
  /** Whether a claim may begin now. When that changes, call `serve`. Default: always. */
  mayBegin?: () => boolean
  /** The most requests that wait at once to begin; those of one owner are at most half as many. */
  waiters: number
  waitMs: number
  /**
   * When a client disconnects, the runtime can stop its request without running `finally`. The claim then
   * expires after this time.
   */
  claimMs: number
}

/** The share of a lane, in bytes and in claims, that one owner may have, unless it is a single claim. */
const OWNER_SHARE = 0.5

interface Held {
  bytes: number
  claims: number
}

interface Lane extends Required<LaneOptions> {
  line: Line<Want, Want>
  held: Held
  byOwner: Map<string, Held>
}

/** More bytes for a claim. */
interface Want {
  claim: Claim
  bytes: number
  lane: Lane
}

/**
 * A budget of bytes that requests share. A request without room waits in order of arrival, and is refused
 * after a bounded time. One owner has at most half of the room and of the waiters; others pass its waiters
 * meanwhile.
 */
export class ByteBudget {
  readonly #options: BudgetOptions
  readonly #claims = new Set<Claim>()
  readonly #lanes: readonly Lane[]
  /** The requests that hold a part of their claim do not wait for those that hold nothing. */
  readonly #growing: Lane
  #held = 0

  constructor(options: BudgetOptions) {
    this.#options = options
    const lane = (more: LaneOptions): Lane => ({
      claims: Number.POSITIVE_INFINITY,
      ...more,
      held: { bytes: 0, claims: 0 },
      byOwner: new Map(),
      line: new Line<Want, Want>({
        take: (want) => this.#take(want),
        // Bytes of one lane may be what a request of another lane waits for.
        giveBack: ({ claim, bytes }) => this.shrink(claim, claim.bytes - bytes),
      }),
    })
    this.#lanes = options.lanes.map(lane)
    this.#growing = lane({ largestBytes: options.bytes, bytes: options.bytes })
  }

  get held(): number {
    return this.#held
  }

  /** The requests that wait to begin. */
  get waiting(): number {
    return this.#lanes.reduce((sum, { line }) => sum + line.length, 0)
  }

  /**
   * The requests that wait to begin, without those of owners who have their share already: others pass them.
   */
  get waitingForOthers(): number {
    return this.#lanes.reduce((sum, { line }) => sum + line.count((want) => !this.#exceedsShare(want)), 0)
  }

  /**
   * Adds `bytes` to a claim. Returns false, and adds nothing, when there is no room in time, too many
   * requests wait, or the client has disconnected.
   */
  async grow(claim: Claim, bytes: number, signal?: AbortSignal): Promise<boolean> {
    const lane = this.#laneOf(claim, bytes)
    if (claim.bytes === 0 && this.#hasOwnersWaiters(claim)) return false
    const others = this.waiting - lane.line.length
    const most = claim.bytes > 0 ? Number.POSITIVE_INFINITY : this.#options.waiters - others
    const { waitMs } = this.#options
    return (await lane.line.enter({ claim, bytes, lane }, { waitMs, most, signal })) !== undefined
  }

  /** Adds `bytes` without waiting. */
  growAtOnce(claim: Claim, bytes: number): boolean {
    const lane = this.#laneOf(claim, bytes)
    return lane.line.enterAtOnce({ claim, bytes, lane }) !== undefined
  }

  /** Reduces a claim to `keptBytes`. */
  shrink(claim: Claim, keptBytes: number): void {
    if (!this.#claims.has(claim) || claim.bytes <= keptBytes) return
    this.#reduce(claim, keptBytes)
    this.serve()
  }

  /** Lets the first waiters go on, if there is room for them. */
  serve(): void {
    for (const { line } of [this.#growing, ...this.#lanes]) line.serve()
  }

  release(claim: Claim): void {
    this.shrink(claim, 0)
  }

  /** Whether as many requests of the claim's owner wait as may wait. */
  #hasOwnersWaiters({ owner }: Claim): boolean {
    const most = this.#options.waiters * OWNER_SHARE
    if (owner === undefined || this.waiting < most) return false
    const isOwners = (want: Want) => want.claim.owner === owner
    return this.#lanes.reduce((sum, { line }) => sum + line.count(isOwners), 0) >= most
  }

  #laneOf(claim: Claim, bytes: number): Lane {
    if (claim.lane) return this.#options.growsFreely ? this.#growing : claim.lane
    return this.#lanes.find(({ largestBytes }) => bytes <= largestBytes) ?? (this.#lanes.at(-1) as Lane)
  }

  #take(want: Want): Want | "later" | undefined {
    if (!this.#hasRoom(want)) this.#expire()
    // The oldest claim may wait behind this one.
    if (!this.#hasRoom(want) && !this.#isOldest(want)) return this.#growsInLane(want) ? "later" : undefined
    if (this.#exceedsShare(want) && !this.#isOldest(want, want.claim.owner)) return "later"
    const { claim, bytes, lane } = want
    const isNew = claim.lane === undefined
    claim.lane ??= lane
    claim.expiresAt = Date.now() + this.#options.claimMs
    this.#claims.add(claim)
    this.#add(claim, bytes, isNew ? 1 : 0)
    return want
  }

  #hasRoom({ claim, bytes, lane }: Want): boolean {
    if (this.#held + bytes > this.#options.bytes) return false
    if (!claim.lane && this.#options.mayBegin?.() === false) return false
    return (
      lane === this.#growing ||
      (lane.held.bytes + bytes <= lane.bytes && lane.held.claims + (claim.lane ? 0 : 1) <= lane.claims)
    )
  }

  #exceedsShare({ claim, bytes, lane }: Want): boolean {
    const held = claim.owner === undefined ? undefined : lane.byOwner.get(claim.owner)
    if (lane === this.#growing || !held || held.bytes === claim.bytes) return false
    const claims = held.claims + (claim.lane ? 0 : 1)
    return held.bytes + bytes > lane.bytes * OWNER_SHARE || claims > Math.ceil(lane.claims * OWNER_SHARE)
  }

  /** Whether a claim that grows within its lane began before all others, or before all of its owner. */
  #isOldest({ claim }: Want, owner?: string): boolean {
    if (!this.#growsInLane({ claim })) return false
    for (const one of this.#claims) if (owner === undefined || one.owner === owner) return one === claim
    return false
  }

  #growsInLane({ claim }: Pick<Want, "claim">): boolean {
    return !this.#options.growsFreely && claim.lane !== undefined
  }

  #expire(): void {
    const now = Date.now()
    const expired = [...this.#claims].filter(({ expiresAt }) => expiresAt <= now)
    for (const claim of expired) this.#reduce(claim, 0)
    // After the lane that is being served.
    if (expired.length > 0) queueMicrotask(() => this.serve())
  }

  #reduce(claim: Claim, keptBytes: number): void {
    this.#add(claim, keptBytes - claim.bytes, keptBytes === 0 ? -1 : 0)
    if (keptBytes > 0) return
    this.#claims.delete(claim)
    claim.lane = undefined
  }

  #add(claim: Claim, bytes: number, claims: number): void {
    const { lane, owner } = claim
    this.#held += bytes
    claim.bytes += bytes
    if (!lane) return
    lane.held.bytes += bytes
    lane.held.claims += claims
    if (owner === undefined) return
    const held = lane.byOwner.get(owner) ?? { bytes: 0, claims: 0 }
    held.bytes += bytes
    held.claims += claims
    if (held.claims > 0) lane.byOwner.set(owner, held)
    else lane.byOwner.delete(owner)
  }
}
