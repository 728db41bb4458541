import { DeadlineError } from "../api/errors.ts"

/** The waits between attempts at batches. They are cut short when the processor closes. */
export class Pauses {
  readonly #running = new Set<{ wake: () => void; sleep: (ms: number) => void; earliest: number }>()

  /**
   * Resolves after `ms`; after `end`, as soon as `leastMs` have passed, which `Retry-After` asks for.
   */
  wait(ms: number, leastMs = 0): Promise<void> {
    return new Promise((resolve) => {
      let timer: ReturnType<typeof setTimeout> | undefined
      const pause = {
        earliest: performance.now() + leastMs,
        sleep(ms: number) {
          clearTimeout(timer)
          timer = setTimeout(pause.wake, ms)
        },
        wake: () => {
          clearTimeout(timer)
          this.#running.delete(pause)
          resolve()
        },
      }
      this.#running.add(pause)
      pause.sleep(ms)
    })
  }

  /** Ends the pauses that nobody asked for. */
  end(): void {
    for (const { sleep, earliest } of this.#running) sleep(Math.max(0, earliest - performance.now()))
  }

  /** Ends every pause at once. */
  abort(): void {
    for (const { wake } of [...this.#running]) wake()
  }
}

/** @throws {DeadlineError} the work is not done within `ms`; it goes on */
export async function within(ms: number, work: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    const error = new DeadlineError(`the signals are not settled within ${ms} ms; they stay accepted`)
    timer = setTimeout(() => reject(error), ms)
  })
  // Whoever flushes again gets the error.
  work.catch(() => {})
  try {
    await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
