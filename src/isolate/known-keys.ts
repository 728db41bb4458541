/** A list of all valid keys. */
export interface KeyList<Key> {
  /** By their ids. */
  keys: ReadonlyMap<string, Key>
  /** False for a copy, which can lack keys: it cannot tell that a key is wrong. */
  isComplete: boolean
}

export interface KnownKeysOptions<Key> {
  /**
   * Reads the list. `known` is the list of the last reading, which it may return.
   *
   * @throws the list cannot be read now
   */
  read(known: KeyList<Key> | undefined): Promise<KeyList<Key>>
  /** Keeps the runtime from ending the request before `work` has ended. */
  keepAlive(work: Promise<unknown>): void
  now?: () => number
}

/** A list of this age, in milliseconds, is used without a look at the database. */
const FRESH_MS = 30_000
/** Up to this age a list is used while it is read again. An older one is not used before that. */
const USABLE_MS = 50_000
/** A request waits so long for a reading. */
const WAIT_MS = 5_000
/** A reading that has not ended for so long is given up. */
const GIVE_UP_MS = 10_000
/** After a reading that failed, the next one begins after this time. */
const PAUSE_MS = 5_000

/** Unknown keys cause so many readings in a row at most, and then so many in a second. */
const MOST_LOOKS = 4
const LOOKS_A_SECOND = 2

/** So many wrong keys are remembered, each for `WRONG_MS`. */
const MOST_WRONG = 1000
const WRONG_MS = 30_000

interface Reading {
  startedAt: number
  done: Promise<void>
}

/**
 * The keys that an isolate knows: one list of all valid keys, which its requests share.
 *
 * A known key costs no reading: the list is read again in the background when it is 30 seconds old, so that a
 * key that was revoked is refused everywhere within 60 seconds. An unknown key waits for a reading that
 * begins after it came, since it may just have been made. However many unknown keys come, they share
 * readings, which have a rate, and the memory for wrong keys has a bound.
 */
export class KnownKeys<Key> {
  readonly #options: KnownKeysOptions<Key>
  readonly #now: () => number
  #list: KeyList<Key> | undefined
  /** When the reading of the list began, in milliseconds since the epoch. */
  #readAt = Number.NEGATIVE_INFINITY
  #failedAt = Number.NEGATIVE_INFINITY
  #reading: Reading | undefined
  /** Counts the calls of `forget`: a reading that began before one is not used. */
  #turn = 0
  /** When each wrong key was looked for, the oldest first. */
  readonly #wrong = new Map<string, number>()
  #looks = MOST_LOOKS
  #looksAt = Number.NEGATIVE_INFINITY

  constructor(options: KnownKeysOptions<Key>) {
    this.#options = options
    this.#now = options.now ?? Date.now
  }

  /** @returns the key; `unknown`: no such key is valid; `cannot tell`: nothing says now whether one is */
  async find(id: string): Promise<{ key: Key } | "unknown" | "cannot tell"> {
    const now = this.#now()
    const age = now - this.#readAt
    const known = this.#list?.keys.get(id)
    if (known !== undefined && age < USABLE_MS) {
      if (age >= FRESH_MS && this.#mayRead(now)) this.#read(now)
      return { key: known }
    }
    if (this.#isWrong(id, now)) return "unknown"
    await this.#waitForReading(now, known === undefined)
    const key = this.#list?.keys.get(id)
    if (key !== undefined) return { key }
    if (!this.#list?.isComplete || this.#readAt < now) return "cannot tell"
    this.#remember(id, now)
    return "unknown"
  }

  /** Reads the list anew before the next request. Keys that are gone are unknown at once. */
  forget(isGone: (key: Key) => boolean = () => false): void {
    this.#turn++
    this.#reading = undefined
    this.#readAt = Number.NEGATIVE_INFINITY
    this.#wrong.clear()
    if (this.#list)
      this.#list = { ...this.#list, keys: new Map([...this.#list.keys].filter(([, key]) => !isGone(key))) }
  }

  /** Waits for a reading that begins at `now` or later, unless there may be none. */
  async #waitForReading(now: number, isLook: boolean): Promise<void> {
    const under = this.#running(now)
    if (under) await within(under.done, WAIT_MS)
    if (this.#readAt >= now) return
    const later = this.#now()
    const next = this.#running(later) ?? this.#begin(later, isLook)
    if (next) await within(next.done, WAIT_MS)
  }

  #begin(now: number, isLook: boolean): Reading | undefined {
    return this.#mayRead(now) && (!isLook || this.#takeLook(now)) ? this.#read(now) : undefined
  }

  #running(now: number): Reading | undefined {
    if (this.#reading && now - this.#reading.startedAt > GIVE_UP_MS) this.#reading = undefined
    return this.#reading
  }

  #mayRead(now: number): boolean {
    return this.#running(now) === undefined && now - this.#failedAt >= PAUSE_MS
  }

  #read(startedAt: number): Reading {
    const reading: Reading = { startedAt, done: Promise.resolve() }
    this.#reading = reading
    reading.done = this.#readInto(reading, this.#turn)
    this.#options.keepAlive(reading.done)
    return reading
  }

  async #readInto(reading: Reading, turn: number): Promise<void> {
    try {
      const list = await this.#options.read(this.#list)
      if (turn !== this.#turn) return
      this.#list = list
      this.#readAt = reading.startedAt
      // A copy is read while the database is away. The next reading asks the database again.
      if (!list.isComplete) this.#failedAt = reading.startedAt
    } catch {
      this.#failedAt = this.#now()
    } finally {
      if (this.#reading === reading) this.#reading = undefined
    }
  }

  #takeLook(now: number): boolean {
    const gained = ((now - this.#looksAt) / 1000) * LOOKS_A_SECOND
    this.#looks = Math.min(MOST_LOOKS, this.#looks + gained)
    this.#looksAt = now
    if (this.#looks < 1) return false
    this.#looks--
    return true
  }

  #isWrong(id: string, now: number): boolean {
    const lookedAt = this.#wrong.get(id)
    return lookedAt !== undefined && now - lookedAt < WRONG_MS
  }

  #remember(id: string, now: number): void {
    this.#wrong.delete(id)
    this.#wrong.set(id, now)
    const [oldest] = this.#wrong.keys()
    if (this.#wrong.size > MOST_WRONG && oldest !== undefined) this.#wrong.delete(oldest)
  }
}

/** Waits for `work`, for at most `ms` milliseconds. The timer also keeps the request alive; see `Pause`. */
async function within(work: Promise<void>, ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  await Promise.race([
    work,
    new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms)
    }),
  ])
  clearTimeout(timer)
}
