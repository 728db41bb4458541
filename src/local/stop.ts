import { once } from "node:events"

/** One Ctrl-C can come twice: from the terminal, and passed on by npm. */
const SAME_CTRL_C_MS = 500

/** How often the parent is checked. */
const PARENT_CHECK_MS = 500

/**
 * The one owner of the stop of `npm start`. Only this process hears the terminal's signals: every process
 * that it starts has a process group of its own, and ends when its owner here says so.
 */
export class Stop {
  /** Aborts at the first signal. */
  readonly requested: AbortSignal
  /** Aborts at a second signal, or when a part that the others need has ended: nothing is waited for then. */
  readonly immediate: AbortSignal
  readonly #requested = new AbortController()
  readonly #immediate = new AbortController()
  readonly #parts: (() => Promise<unknown>)[] = []
  #firstAt: number | undefined

  constructor() {
    this.requested = this.#requested.signal
    this.immediate = this.#immediate.signal
  }

  /** Listens until this process ends: a second Ctrl-C must not end it before the parts that it started. */
  listen(): void {
    // Beside the listener of launch.mjs, which must stay: Node drops a signal that came while it loaded this
    // file when its last listener is removed.
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => this.#interrupt())
    // A terminal that was closed, or a pipe whose reader has ended: nobody sees this service any more. A full
    // disk under a log file only costs the lines.
    for (const stream of [process.stdout, process.stderr])
      stream.on("error", ({ code }: NodeJS.ErrnoException) => {
        if (code === "EPIPE" || code === "EIO") this.request()
      })
    if (process.env.npm_lifecycle_event !== undefined) this.#requestWhenParentEnds()
  }

  request(): void {
    this.#requested.abort()
  }

  /** A part that the others need has ended, so they must not wait for their work. */
  skipWaiting(): void {
    this.#immediate.abort()
  }

  /** Adds a part that runs now. Parts stop in reverse order. */
  add(stop: () => Promise<unknown>): void {
    this.#parts.push(stop)
  }

  /** Stops every part, each after the parts that need it. */
  async stopParts(): Promise<void> {
    for (const stop of this.#parts.splice(0).reverse())
      await stop().catch((error) => console.error((error as Error).message))
  }

  /**
   * Waits for work of the start; rejects as soon as a stop is requested, and leaves the work to `stopParts`.
   */
  async during<T>(work: Promise<T>): Promise<T> {
    work.catch(() => {})
    this.requested.throwIfAborted()
    const settled = new AbortController()
    const stopped = once(this.requested, "abort", { signal: settled.signal }).then(
      () => this.requested.throwIfAborted() as never,
      () => new Promise<never>(() => {}),
    )
    try {
      return await Promise.race([work, stopped])
    } finally {
      settled.abort()
    }
  }

  #interrupt(): void {
    this.#firstAt ??= Date.now()
    this.request()
    if (Date.now() - this.#firstAt > SAME_CTRL_C_MS) this.skipWaiting()
  }

  /** A SIGTERM to npm ends npm and the shell between it and this process, and does not reach this process. */
  #requestWhenParentEnds(): void {
    const parent = process.ppid
    const timer = setInterval(() => {
      if (process.ppid === parent) return
      clearInterval(timer)
      this.request()
    }, PARENT_CHECK_MS).unref()
  }
}
