/** What a caller may use on a day; null: no limit. */
export interface DayLimits {
  signals: number | null
  bytes: number | null
}

export interface Amounts {
  signals: number
  bytes: number
}

/** A lease of one caller on one day. */
export interface Lease extends Amounts {
  name: string
  /** UTC, such as 2025-01-15. */
  day: string
}

export interface DayQuotaOptions {
  /**
   * Takes a lease, and returns the sums of all leases of the caller on this day, this one included.
   *
   * @throws no lease can be taken now
   */
  take(lease: Lease): Promise<Amounts>
  /** Keeps the runtime from ending the request before `work` has ended. */
  keepAlive(work: Promise<unknown>): void
  now?: () => number
}

/** An isolate leases this part of a limit at once. */
const SHARE = 0.01
/** After a lease that failed, and while nothing is left, the next one is asked for after this time. */
const PAUSE_MS = 30_000
export const DAY_SECONDS = 24 * 60 * 60
/** More callers than there can be keys. The one that was counted first is forgotten. */
const MOST_CALLERS = 2000

interface Account {
  day: string
  /** Leased and not used. Below zero: used before it was leased. */
  left: Amounts
  /** The sums of all leases of all isolates, as of the last answer. */
  leased: Amounts
  isAsking: boolean
  nextAskAt: number
}

/**
 * What callers use in a day, counted by leases: an isolate takes a hundredth of a limit in advance, in the
 * background, and spends it without asking anyone. So no request waits, and the limit is approximate: an
 * isolate lets through what arrives until its first lease is answered, and what it leased and did not spend
 * is lost when it ends.
 */
export class DayQuota {
  readonly #options: DayQuotaOptions
  readonly #now: () => number
  readonly #accounts = new Map<string, Account>()

  constructor(options: DayQuotaOptions) {
    this.#options = options
    this.#now = options.now ?? Date.now
  }

  /**
   * Spends of a caller's limits, or nothing when they are used up.
   *
   * @returns the limit that is used up, and the seconds until the next day; undefined when it is spent
   */
  spend(
    name: string,
    limits: DayLimits,
    amounts: Amounts,
  ): { limit: keyof Amounts; retryAfterSeconds: number } | undefined {
    const now = this.#now()
    const account = this.#accountOf(name, new Date(now).toISOString().slice(0, 10))
    for (const limit of ["signals", "bytes"] as const) {
      const most = limits[limit]
      if (most === null || account.left[limit] >= amounts[limit] || account.leased[limit] < most) continue
      return { limit, retryAfterSeconds: DAY_SECONDS - (Math.floor(now / 1000) % DAY_SECONDS) }
    }
    account.left.signals -= amounts.signals
    account.left.bytes -= amounts.bytes
    this.#lease(name, account, limits, now)
    return undefined
  }

  #accountOf(name: string, day: string): Account {
    const known = this.#accounts.get(name)
    if (known?.day === day) return known
    const none = () => ({ signals: 0, bytes: 0 })
    const account = {
      day,
      left: none(),
      leased: none(),
      isAsking: false,
      nextAskAt: Number.NEGATIVE_INFINITY,
    }
    this.#accounts.delete(name)
    this.#accounts.set(name, account)
    const [oldest] = this.#accounts.keys()
    if (this.#accounts.size > MOST_CALLERS && oldest !== undefined) this.#accounts.delete(oldest)
    return account
  }

  /** Takes a lease in the background when less than half of one is left. */
  #lease(name: string, account: Account, limits: DayLimits, now: number): void {
    if (account.isAsking || now < account.nextAskAt) return
    const wanted = { signals: 0, bytes: 0 }
    for (const limit of ["signals", "bytes"] as const) {
      const most = limits[limit]
      if (most === null) continue
      const share = Math.ceil(most * SHARE)
      if (account.left[limit] >= share / 2) continue
      const free = Math.max(0, most - account.leased[limit])
      wanted[limit] = Math.max(-Math.min(0, account.left[limit]), Math.min(share - account.left[limit], free))
    }
    if (wanted.signals === 0 && wanted.bytes === 0) return
    account.isAsking = true
    this.#options.keepAlive(this.#take({ name, day: account.day, ...wanted }, account))
  }

  async #take(lease: Lease, account: Account): Promise<void> {
    try {
      account.leased = await this.#options.take(lease)
      account.left.signals += lease.signals
      account.left.bytes += lease.bytes
    } catch {
      account.nextAskAt = this.#now() + PAUSE_MS
    } finally {
      account.isAsking = false
    }
  }
}
