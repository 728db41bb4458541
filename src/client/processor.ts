import type { SignalClient } from "./client.ts"
import { deliverEach } from "./deliver.ts"
import { AbortedError, type SignalError } from "./errors.ts"
import { toJson } from "./json.ts"
import type { Spool } from "./spool/types.ts"
import type { NewSignal } from "./types.ts"

/** A signal that the service refused. */
export interface Unstored {
  signal: NewSignal
  /** The rule it breaks, as one sentence. */
  error: string
}

/** A batch that could not be delivered in time, or that was refused as a whole. */
export interface Undelivered {
  signals: readonly NewSignal[]
  error: SignalError
  /** The spool has it still: the next run sends it again. */
  kept: boolean
}

export interface ProcessorOptions {
  /** Signals after which a batch is sent. Default: 100, at most 10,000. */
  maxCount?: number | undefined
  /** Bytes of JSON after which a batch is sent. Default: 1 MiB. */
  maxBytes?: number | undefined
  /** How long a signal waits for others. Default: 1,000. */
  maxWaitMs?: number | undefined
  /** Batches under way at once. Default: 4. */
  maxInFlight?: number | undefined
  /** Signals that are accepted and not yet with the service; `add` waits when there are as many. Default: 10,000. */
  maxBuffered?: number | undefined
  /** How long a batch is tried. Default: the client's. */
  deadlineMs?: number | undefined
  /** Told of each signal that was refused; the others of its batch are stored. */
  onFailure?: ((failure: Unstored) => void) | undefined
  /** Told of each batch that is not with the service. Without it, `flush` and `close` reject with the first such error. */
  onUndelivered?: ((batch: Undelivered) => void) | undefined
  /** Keeps what `add` has accepted beyond a crash. */
  spool?: Spool | undefined
}

type Settled = ProcessorOptions & Record<"maxCount" | "maxBytes" | "maxWaitMs" | "maxInFlight" | "maxBuffered", number>

interface Waiting {
  signal: NewSignal
  bytes: number
}

/**
 * Gathers signals into batches and sends those, several at once. What `add` has accepted is sent; `close` waits for that.
 *
 * No promise of its own goes unhandled, whatever happens: faults are told by the callbacks and by `flush` and `close`.
 */
export class BatchProcessor {
  readonly #client: SignalClient
  readonly #options: Settled
  /** In no batch yet. */
  #waiting: Waiting[] = []
  #waitingBytes = 0
  /** Accepted, and not settled. */
  #buffered = 0
  #inFlight = new Set<Promise<void>>()
  readonly #room: (() => void)[] = []
  readonly #slots: (() => void)[] = []
  #timer: ReturnType<typeof setTimeout> | undefined
  #closed: Promise<void> | undefined
  #fault: SignalError | undefined
  readonly #recovered: Promise<void>
  /** Batches are cut one after the other, since the spool has to know their order. */
  #cutting: Promise<void> = Promise.resolve()

  constructor(client: SignalClient, options: ProcessorOptions = {}) {
    this.#client = client
    this.#options = {
      ...options,
      maxCount: options.maxCount ?? 100,
      maxBytes: options.maxBytes ?? 1024 * 1024,
      maxWaitMs: options.maxWaitMs ?? 1000,
      maxInFlight: options.maxInFlight ?? 4,
      maxBuffered: options.maxBuffered ?? 10_000,
    }
    this.#recovered = this.#recover()
    this.#recovered.catch(() => {})
  }

  /**
   * Accepts a signal; with a spool it is on disk then. Waits while `maxBuffered` signals are not settled.
   *
   * @throws {Error} the processor is closed, or the spool can't be written
   */
  async add(signal: NewSignal): Promise<void> {
    if (this.#closed) throw new Error("this BatchProcessor is closed")
    await this.#recovered
    while (this.#buffered >= this.#options.maxBuffered) await new Promise<void>((resolve) => this.#room.push(resolve))
    // Counted from here on, so that those who wait beside it see the place taken.
    this.#buffered++
    try {
      const bytes = toJson(signal).length
      await this.#options.spool?.append(signal)
      this.#take({ signal, bytes })
    } catch (error) {
      this.#settle(1)
      throw error
    }
  }

  /**
   * Sends what is waiting, and resolves when everything accepted so far is settled.
   *
   * @throws {SignalError} a batch could not be delivered, and there is no `onUndelivered`
   */
  async flush(): Promise<void> {
    await this.#recovered
    this.#cut()
    await this.#cutting
    while (this.#inFlight.size > 0) await Promise.all(this.#inFlight)
    const fault = this.#fault
    this.#fault = undefined
    if (fault) throw fault
  }

  /** As `flush`, and accepts no more. May be called more than once. */
  close(): Promise<void> {
    this.#closed ??= this.#end()
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #end(): Promise<void> {
    try {
      await this.flush()
    } finally {
      clearTimeout(this.#timer)
      await this.#options.spool?.close()
    }
  }

  async #recover(): Promise<void> {
    const { spool } = this.#options
    if (!spool) return
    const { batches, loose } = await spool.recover()
    for (const { key, signals } of batches) {
      this.#buffered += signals.length
      this.#send(key, signals)
    }
    for (const signal of loose) {
      this.#buffered++
      this.#take({ signal, bytes: toJson(signal).length })
    }
  }

  #take(waiting: Waiting): void {
    const { maxCount, maxBytes, maxWaitMs } = this.#options
    if (this.#waitingBytes + waiting.bytes > maxBytes && this.#waiting.length > 0) this.#cut()
    this.#waiting.push(waiting)
    this.#waitingBytes += waiting.bytes
    if (this.#waiting.length >= maxCount || this.#waitingBytes >= maxBytes) this.#cut()
    else this.#timer ??= setTimeout(() => this.#cut(), maxWaitMs)
  }

  /** Makes a batch of what is waiting. */
  #cut(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#waiting.length === 0) return
    const signals = this.#waiting.map(({ signal }) => signal)
    this.#waiting = []
    this.#waitingBytes = 0
    const key = crypto.randomUUID()
    this.#cutting = this.#cutting.then(async () => {
      try {
        await this.#options.spool?.cut(key, signals.length)
      } catch (error) {
        this.#tellUndelivered({ signals, error: error as SignalError, kept: true })
        this.#settle(signals.length)
        return
      }
      this.#send(key, signals)
    })
  }

  #send(key: string, signals: readonly NewSignal[]): void {
    const sent = this.#deliver(key, signals).finally(() => {
      this.#inFlight.delete(sent)
      this.#slots.shift()?.()
      this.#settle(signals.length)
    })
    this.#inFlight.add(sent)
  }

  /** Never rejects. */
  async #deliver(key: string, signals: readonly NewSignal[]): Promise<void> {
    const { spool, onFailure, deadlineMs, maxInFlight } = this.#options
    // Its own place is taken already.
    if (this.#inFlight.size >= maxInFlight) await new Promise<void>((resolve) => this.#slots.push(resolve))
    try {
      const failures = await deliverEach(this.#client, signals, { idempotencyKey: key, deadlineMs })
      await spool?.done(key)
      for (const { index, error } of failures) {
        const signal = signals[index]
        if (signal) quietly(() => onFailure?.({ signal, error }))
      }
    } catch (error) {
      this.#tellUndelivered({ signals, error: error as SignalError, kept: spool !== undefined })
    }
  }

  #tellUndelivered(batch: Undelivered): void {
    const { onUndelivered } = this.#options
    if (onUndelivered) quietly(() => onUndelivered(batch))
    else if (!(batch.error instanceof AbortedError)) this.#fault ??= batch.error
  }

  #settle(count: number): void {
    this.#buffered -= count
    for (const resume of this.#room.splice(0)) resume()
  }
}

/** A callback that throws is its author's affair: it may stop no batch. */
function quietly(callback: () => void): void {
  try {
    callback()
  } catch (error) {
    console.error(error)
  }
}
