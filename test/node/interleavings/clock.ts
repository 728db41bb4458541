import { AsyncResource } from "node:async_hooks"

/** How many schedules a property tries; `npm run interleavings` tries more than 100,000 in all. */
export const SCHEDULES = Number(process.env.SCHEDULES ?? 2000)
export const SEED = Number(process.env.SEED ?? 20_261_201)

const real = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  now: Date.now,
  performanceNow: performance.now,
  random: Math.random,
}

/** One of those that it may be, by any number. */
export const pick = <T>(from: readonly T[], index: number): T | undefined =>
  from[index % Math.max(1, from.length)]

/** A clock that stands still until a test moves it. Replaces the timers and the times of this process. */
export class Clock {
  #now = 1_800_000_000_000
  readonly #startedAt = this.#now
  #timers = new Map<number, { at: number; run: () => void }>()
  #lastId = 0

  get now(): number {
    return this.#now
  }

  install(): void {
    const timers = this.#timers
    Object.assign(globalThis, {
      setTimeout: (run: (...values: unknown[]) => void, ms = 0, ...values: unknown[]) => {
        const id = ++this.#lastId
        // As a real timer it runs in the context in which it was set.
        const bound = AsyncResource.bind(() => run(...values))
        timers.set(id, { at: this.#now + Math.max(0, Number(ms) || 0), run: bound })
        return Object.assign(Object(id) as object, {
          unref: () => undefined,
          ref: () => undefined,
          [Symbol.toPrimitive]: () => id,
        })
      },
      clearTimeout: (timer: unknown) => void timers.delete(Number(timer)),
    })
    Date.now = () => this.#now
    // A pause is as long in each run of a schedule.
    Math.random = () => 0.5
    performance.now = () => this.#now - this.#startedAt
  }

  uninstall(): void {
    Object.assign(globalThis, { setTimeout: real.setTimeout, clearTimeout: real.clearTimeout })
    Date.now = real.now
    Math.random = real.random
    performance.now = real.performanceNow
  }

  /** Lets everything run that waits for no timer. */
  settle(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve))
  }

  /** Moves the time, and runs each timer at its own time. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms
    await this.settle()
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= until).sort(([, a], [, b]) => a.at - b.at)[0]
      if (!due) break
      this.#timers.delete(due[0])
      this.#now = Math.max(this.#now, due[1].at)
      due[1].run()
      await this.settle()
    }
    this.#now = until
  }

  /** Moves the time while nothing can run, as on a machine that is too busy. */
  jump(ms: number): void {
    this.#now += ms
  }
}

/** Runs one schedule on a clock of its own. */
export async function onClock<T>(schedule: (clock: Clock) => Promise<T>): Promise<T> {
  const clock = new Clock()
  clock.install()
  try {
    return await schedule(clock)
  } finally {
    clock.uninstall()
  }
}
