import { AbortedError, DeadlineError } from "./api/errors.ts"
import type { NewSignal } from "./api/types.ts"
import { encodeJson as toJson } from "./base/encode.ts"
import { callSafely, utf8Bytes } from "./base/guards.ts"
import { BufferGate } from "./batching/buffer-gate.ts"
import { type ProcessorOptions, type SettledOptions, settleOptions } from "./batching/options.ts"
import type { SignalClient } from "./client.ts"
import { deliverEach } from "./deliver.ts"

interface Batch {
  signals: readonly NewSignal[]
  bytes: number
  isDamaged?: boolean
}

/**
 * Gathers signals into batches and sends several at once. Every signal that `add` has accepted is sent, or
 * reported to `onUndelivered`; `close` waits for that.
 *
 * Errors go to the callbacks and to `flush` and `close`; the processor never causes an unhandled rejection.
 *
 * @example
 * ```ts
 * const processor = new BatchProcessor(client, {
 *   onFailure: ({ signal, error }) => console.warn(error, signal),
 *   onUndelivered: ({ signals, error }) => console.error(signals.length, error),
 * })
 * for (const { room, text } of messages) await processor.add({ context_window_id: room, raw_content: text })
 * await processor.close()
 * ```
 */
export class BatchProcessor {
  readonly #client: SignalClient
  readonly #options: SettledOptions
  /** Accepted signals that are not in a batch yet. */
  #loose: NewSignal[] = []
  #looseBytes = 0
  #adding = new Set<Promise<void>>()
  #inFlight = new Set<Promise<void>>()
  readonly #buffer: BufferGate
  readonly #slots: BufferGate
  #timer: ReturnType<typeof setTimeout> | undefined
  #closed: Promise<void> | undefined
  readonly #ending = new AbortController()
  #error: Error | undefined
  readonly #recovered: Promise<void>
  /** Batches are cut one after the other, because the spool needs their order. */
  #cutting: Promise<void> = Promise.resolve()

  /** @throws {RangeError} an option is out of its range */
  constructor(client: SignalClient, options: ProcessorOptions = {}) {
    this.#client = client
    this.#options = settleOptions(options)
    const { maxBuffered, maxBufferedBytes, maxWaitingAdds, maxInFlight } = this.#options
    this.#buffer = new BufferGate({
      maxCount: maxBuffered,
      maxBytes: maxBufferedBytes,
      maxWaiting: maxWaitingAdds,
      tooManyWait: `The buffer is full, and ${maxWaitingAdds} calls of add already wait for room: await add before the next call.`,
    })
    this.#slots = new BufferGate({ maxCount: maxInFlight })
    this.#recovered = this.#recover()
    this.#recovered.catch(() => {})
  }

  /**
   * Accepts a signal; with a spool, the signal is on disk then. Waits while the buffer is full.
   *
   * @throws {Error} the signal was not accepted: the processor is closed, too many calls wait, or the spool
   *   cannot be written
   */
  add(signal: NewSignal): Promise<void> {
    if (this.#closed)
      return Promise.reject(new Error("The BatchProcessor is closed and accepts no more signals."))
    const adding = this.#accept(signal)
    this.#adding.add(adding)
    const forget = () => this.#adding.delete(adding)
    adding.then(forget, forget)
    return adding
  }

  /**
   * Sends the buffered signals, and resolves when every signal that was accepted before the call is settled.
   *
   * @throws {Error} a batch was not delivered, and there is no `onUndelivered`; a `SignalError`, or an error
   *   of the spool
   */
  async flush(): Promise<void> {
    await this.#recovered
    await this.#sendAll()
    this.#throwError()
  }

  /**
   * Accepts no more signals, sends all accepted ones and those of waiting calls of `add`, and closes the
   * spool. Takes at most `closeDeadlineMs`. Can be called more than once.
   *
   * @throws {Error} as `flush`
   */
  close(): Promise<void> {
    this.#closed ??= this.#end()
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #accept(signal: NewSignal): Promise<void> {
    await this.#recovered
    const bytes = utf8Bytes(toJson(signal))
    if (this.#isStuck()) this.#cut()
    await this.#buffer.enter(bytes)
    try {
      await this.#options.spool?.append(signal)
    } catch (error) {
      this.#buffer.leave(1, bytes)
      throw error
    }
    this.#take(signal, bytes)
  }

  async #end(): Promise<void> {
    const timer = setTimeout(() => this.#giveUp(), this.#options.closeDeadlineMs)
    try {
      await this.#recovered
      do {
        await this.#sendAll()
        await Promise.allSettled(this.#adding)
      } while (this.#adding.size > 0 || this.#loose.length > 0 || this.#inFlight.size > 0)
      this.#throwError()
    } finally {
      clearTimeout(timer)
      clearTimeout(this.#timer)
      await this.#options.spool?.close()
    }
  }

  /** Aborts the batches in flight and the waiting calls. Each of them reports its own error. */
  #giveUp(): void {
    const error = new DeadlineError(
      `close has not sent this within closeDeadlineMs (${this.#options.closeDeadlineMs} ms)`,
    )
    this.#ending.abort(error)
    this.#slots.close(error)
    this.#buffer.close(error)
  }

  async #sendAll(): Promise<void> {
    this.#cut()
    await this.#cutting
    await Promise.all(this.#inFlight)
  }

  #throwError(): void {
    const error = this.#error
    this.#error = undefined
    if (error) throw error
  }

  async #recover(): Promise<void> {
    const { spool } = this.#options
    if (!spool) return
    const { batches, loose } = await spool.recover()
    const bytesOf = (signals: readonly NewSignal[]) =>
      signals.reduce((sum, signal) => sum + utf8Bytes(toJson(signal)), 0)
    for (const { key, signals, isDamaged } of batches) {
      const batch = { signals, bytes: bytesOf(signals), isDamaged }
      this.#buffer.force(signals.length, batch.bytes)
      this.#send(key, batch)
    }
    for (const signal of loose) {
      const bytes = bytesOf([signal])
      this.#buffer.force(1, bytes)
      this.#take(signal, bytes)
    }
  }

  #take(signal: NewSignal, bytes: number): void {
    const { maxCount, maxBytes, maxWaitMs } = this.#options
    if (this.#looseBytes + bytes > maxBytes && this.#loose.length > 0) this.#cut()
    this.#loose.push(signal)
    this.#looseBytes += bytes
    if (this.#loose.length >= maxCount || this.#looseBytes >= maxBytes || this.#isStuck()) this.#cut()
    else this.#timer ??= setTimeout(() => this.#cut(), this.#closed ? 0 : maxWaitMs)
  }

  /** The loose signals fill the buffer: no signal can join them, and nothing in flight makes room. */
  #isStuck(): boolean {
    return this.#buffer.isFull && this.#inFlight.size === 0
  }

  /** Makes a batch of the loose signals. */
  #cut(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#loose.length === 0) return
    const batch = { signals: this.#loose, bytes: this.#looseBytes }
    this.#loose = []
    this.#looseBytes = 0
    const key = crypto.randomUUID()
    this.#cutting = this.#cutting.then(async () => {
      try {
        await this.#options.spool?.cut(key, batch.signals.length)
      } catch (error) {
        this.#reportUndelivered(batch, error)
        this.#buffer.leave(batch.signals.length, batch.bytes)
        return
      }
      this.#send(key, batch)
    })
  }

  #send(key: string, batch: Batch): void {
    const sent = this.#deliver(key, batch).finally(() => {
      this.#inFlight.delete(sent)
      this.#buffer.leave(batch.signals.length, batch.bytes)
    })
    this.#inFlight.add(sent)
  }

  /** Never rejects. */
  async #deliver(key: string, batch: Batch): Promise<void> {
    const { spool, onFailure, deadlineMs, headers } = this.#options
    const { signals, isDamaged } = batch
    try {
      await this.#slots.enter()
    } catch (error) {
      return this.#reportUndelivered(batch, error)
    }
    try {
      const options = { idempotencyKey: key, deadlineMs, headers, isDamaged, signal: this.#ending.signal }
      const failures = await deliverEach(this.#client, signals, options)
      for (const { index, ...why } of failures) {
        const signal = signals[index]
        if (signal) callSafely(() => onFailure?.({ signal, ...why }))
      }
      await spool?.done(key)
    } catch (error) {
      this.#reportUndelivered(batch, error instanceof AbortedError ? this.#ending.signal.reason : error)
    } finally {
      this.#slots.leave(1)
    }
  }

  #reportUndelivered({ signals }: Batch, thrown: unknown): void {
    const { onUndelivered, spool } = this.#options
    const error = thrown instanceof Error ? thrown : new Error(String(thrown))
    if (onUndelivered) callSafely(() => onUndelivered({ signals, error, kept: spool !== undefined }))
    else this.#error ??= error
  }
}
