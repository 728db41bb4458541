import { Line } from "./line.ts"

/** A request's share of the budget, until it is released or expires. */
export interface Claim {
  bytes: number
  /** Whether it began with more than `smallBytes`. */
  isLarge: boolean
  expiresAt: number
}

/** An empty claim. */
export const newClaim = (): Claim => ({ bytes: 0, isLarge: false, expiresAt: 0 })

export interface BudgetOptions {
  /** The most bytes of all claims together. */
  bytes: number
  /**
   * The most bytes of all claims together after a claim of more than `smallBytes`. Large bodies so leave room
   * for small ones.
   */
  largeBytes: number
  smallBytes: number
  /** The most large claims at once. */
  largeClaims: number
  /** The most bytes of small claims together when one more is admitted. */
  smallTotalBytes: number
  /** The most requests that wait at once. */
  waiters: number
  waitMs: number
  /**
   * When a lane has had waiters for longer than this, each waits only `patienceMs`: more arrive than leave,
   * so a longer wait does not help.
   */
  standingMs: number
  /** The longest wait for so many bytes in such a lane. */
  patienceMs: (bytes: number) => number
  /**
   * When a client disconnects, the runtime stops its request without running `finally`. The claim then
   * expires after this time.
   */
  claimMs: number
}

/**
 * Each lane is a separate line. A request that holds a part of its claim must not wait for requests that
 * hold nothing.
 */
const LANES = ["growing", "small", "large"] as const
type Lane = (typeof LANES)[number]

/** More bytes for a claim. */
interface Want {
  claim: Claim
  bytes: number
  lane: Lane
}

/**
 * A budget of bytes that requests share. A request without room waits in order of arrival, and is refused
 * after a bounded time.
 */
export class ByteBudget {
  readonly #options: BudgetOptions
  readonly #claims = new Set<Claim>()
  readonly #lines: Record<Lane, Line<Want, Want>>
  /** Since when each lane has had waiters. */
  readonly #standingSince: Record<Lane, number> = { growing: 0, small: 0, large: 0 }
  #held = 0
  #heldBySmall = 0

  constructor(options: BudgetOptions) {
    this.#options = options
    const line = () =>
      new Line<Want, Want>({
        take: (want) => this.#take(want),
        giveBack: ({ claim, bytes }) => this.#reduce(claim, claim.bytes - bytes),
      })
    this.#lines = { growing: line(), small: line(), large: line() }
  }

  get held(): number {
    return this.#held
  }

  /**
   * Adds `bytes` to a claim. Returns false, and adds nothing, when there is no room in time, too many
   * requests wait, or the client has disconnected.
   */
  async grow(claim: Claim, bytes: number, signal?: AbortSignal): Promise<boolean> {
    const lane = this.#laneOf(claim, bytes)
    const line = this.#lines[lane]
    const others = LANES.reduce((sum, name) => sum + (name === lane ? 0 : this.#lines[name].length), 0)
    const most = lane === "growing" ? Number.POSITIVE_INFINITY : this.#options.waiters - others
    if (line.length === 0) this.#standingSince[lane] = Date.now()
    const waitMs = this.#waitMs(lane, bytes)
    return (await line.enter({ claim, bytes, lane }, { waitMs, most, signal })) !== undefined
  }

  /** Adds `bytes` without waiting. */
  growAtOnce(claim: Claim, bytes: number): boolean {
    const lane = this.#laneOf(claim, bytes)
    return this.#lines[lane].enterAtOnce({ claim, bytes, lane }) !== undefined
  }

  /** Reduces a claim to `keptBytes`. */
  shrink(claim: Claim, keptBytes: number): void {
    if (!this.#claims.has(claim) || claim.bytes <= keptBytes) return
    this.#reduce(claim, keptBytes)
    for (const lane of LANES) this.#lines[lane].serve()
  }

  release(claim: Claim): void {
    this.shrink(claim, 0)
  }

  #laneOf(claim: Claim, bytes: number): Lane {
    if (claim.bytes > 0) return "growing"
    return bytes <= this.#options.smallBytes ? "small" : "large"
  }

  /**
   * The longest wait for so many bytes in a lane: as long as the lane does not stand, or the patience for
   * them when that is longer.
   *
   * @see https://queue.acm.org/detail.cfm?id=2839461 "controlled delay"
   */
  #waitMs(lane: Lane, bytes: number): number {
    const { waitMs, patienceMs, standingMs } = this.#options
    if (lane === "growing") return waitMs
    const standsInMs = this.#standingSince[lane] + standingMs - Date.now()
    return Math.min(waitMs, Math.max(patienceMs(bytes), standsInMs))
  }

  #take(want: Want): Want | undefined {
    const { claim, bytes, lane } = want
    if (!this.#hasRoom(lane, bytes)) this.#expire()
    if (!this.#hasRoom(lane, bytes)) return undefined
    if (lane !== "growing") claim.isLarge = lane === "large"
    claim.bytes += bytes
    claim.expiresAt = Date.now() + this.#options.claimMs
    this.#claims.add(claim)
    this.#held += bytes
    if (!claim.isLarge) this.#heldBySmall += bytes
    return want
  }

  #hasRoom(lane: Lane, bytes: number): boolean {
    const { largeBytes, largeClaims, smallTotalBytes, bytes: all } = this.#options
    if (lane === "large") return this.#held + bytes <= largeBytes && this.#largeClaims() < largeClaims
    return this.#held + bytes <= all && (lane === "growing" || this.#heldBySmall + bytes <= smallTotalBytes)
  }

  #largeClaims(): number {
    let count = 0
    for (const { isLarge } of this.#claims) if (isLarge) count++
    return count
  }

  #expire(): void {
    const now = Date.now()
    for (const claim of this.#claims) if (claim.expiresAt <= now) this.#reduce(claim, 0)
  }

  #reduce(claim: Claim, keptBytes: number): void {
    this.#held -= claim.bytes - keptBytes
    if (!claim.isLarge) this.#heldBySmall -= claim.bytes - keptBytes
    claim.bytes = keptBytes
    if (keptBytes === 0) this.#claims.delete(claim)
  }
}
