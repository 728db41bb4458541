import { AbortedError, DeadlineError, RequestError, SignalError, UnauthorizedError } from "./api/errors.ts"
import type { NewSignal } from "./api/types.ts"
import { decodeSignal, encodeSignal } from "./base/encode.ts"
import { checkRange, MAX_TIMER_MS, utf8Bytes } from "./base/guards.ts"
import { newKey } from "./base/keys.ts"
import { Acceptance } from "./batching/acceptance.ts"
import { BufferGate } from "./batching/buffer-gate.ts"
import { type ProcessorOptions, type SettledOptions, settleOptions } from "./batching/options.ts"
import { Pauses, within } from "./batching/pauses.ts"
import { Reports } from "./batching/reports.ts"
import { errorOf, hasDedupeKey, isRefusal, OtherCaller, pauseMs, retryAfterOf } from "./batching/retry.ts"
import type { SignalClient } from "./client.ts"
import { deliverTexts } from "./deliver.ts"

/** Signals that are sent under one idempotency key, as the JSON that `add` has written. */
interface Batch {
  key: string
  count: number
  bytes: number
  /** Undefined while only the spool has them. */
  texts: string[] | undefined
  isDamaged: boolean
  /** Another caller may have stored it already. */
  isForeign: boolean
  /** `performance.now()` when it was made. */
  since: number
}

/**
 * Gathers signals into batches and sends several at once. A signal that `add` has accepted is sent as it was
 * then, again and again while the processor lives, or it is reported:
 *
 *     add ──> loose ──cut──> waiting ──slot──> sent ──> stored, or `onFailure`
 *                               ^                │
 *                               └─── pause ──────┤ no good answer, a wrong key, a page of a proxy
 *                                                └──> `onUndelivered`: refused whole, `giveUpMs`, `close`
 *
 * With a spool, loose signals and batches are on disk as well; a waiting batch leaves the memory when the
 * buffer is full. Errors go to the callbacks and to `flush` and `close`; the processor never causes an
 * unhandled rejection.
 *
 * @example
 * ```ts
 * const processor = new BatchProcessor(client, {
 *   onFailure: ({ signal, error }) => console.warn(error, signal),
 *   onUndelivered: ({ count, error }) => console.error(count, error),
 *   onRetry: ({ reason, waitMs }) => console.warn(reason.message, waitMs),
 * })
 * for (const { room, text } of messages) await processor.add({ context_window_id: room, raw_content: text })
 * await processor.close()
 * ```
 */
export class BatchProcessor {
  readonly #client: SignalClient
  readonly #options: SettledOptions
  /** Accepted signals that are not in a batch yet. */
  #loose: string[] = []
  #looseBytes = 0
  #adding = new Set<Promise<void>>()
  #unsettled = new Set<Promise<void>>()
  /** Batches without a slot that have their texts in memory, oldest first. */
  readonly #waiting = new Set<Batch>()
  readonly #buffer: BufferGate
  readonly #slots: BufferGate
  readonly #pauses = new Pauses()
  readonly #reports: Reports
  #timer: ReturnType<typeof setTimeout> | undefined
  #closed: Promise<void> | undefined
  readonly #ending = new AbortController()
  #caller = ""
  readonly #recovered: Promise<void>
  /** Batches are cut one after the other, because the spool needs their order. */
  #cutting: Promise<void> = Promise.resolve()
  #cuts = 0

  /** @throws {RangeError | TypeError} an option is out of its range, or a header is invalid */
  constructor(client: SignalClient, options: ProcessorOptions = {}) {
    this.#client = client
    this.#options = settleOptions(options)
    this.#reports = new Reports(options)
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
   * Accepts a signal as it is now; with a spool, the signal is on disk when the promise resolves. Waits while
   * the buffer is full. An error of a call that nobody awaits goes to `onFailure` or `onUndelivered`.
   *
   * @throws {InvalidSignalError} a value cannot be written as JSON; the signal was not accepted
   * @throws {Error} the signal was not accepted: the processor is closed, too many calls wait, or the spool
   *   is full or cannot be written
   */
  add(signal: NewSignal): Promise<void> {
    // Before anything is awaited: the caller may use the object again.
    const accepting = this.#acceptNow(signal)
    this.#adding.add(accepting)
    const forget = () => this.#adding.delete(accepting)
    accepting.then(forget, forget)
    return Acceptance.of(accepting, (error) =>
      this.#reports.unaccepted(signal, error, this.#closed !== undefined),
    )
  }

  /**
   * Sends the buffered signals, and resolves when every signal that was accepted before the call is settled:
   * stored, or reported. That lasts as long as the service is away, or at most `deadlineMs`, after which the
   * signals stay accepted.
   *
   * @throws {DeadlineError} they are not settled by then
   * @throws {Error} a batch was not delivered, and there is no `onUndelivered`; a `SignalError`, or an error
   *   of the spool
   */
  async flush({ deadlineMs }: { deadlineMs?: number | undefined } = {}): Promise<void> {
    const settled = this.#recovered.then(() => this.#sendAll())
    if (deadlineMs === undefined) await settled
    else await within(checkRange("deadlineMs", deadlineMs, 0, MAX_TIMER_MS), settled)
    this.#reports.throwError()
  }

  /**
   * Accepts no more signals, sends all accepted ones and those of waiting calls of `add`, and closes the
   * spool. Takes at most `closeDeadlineMs`: what is not sent by then goes to `onUndelivered`. Can be called
   * more than once.
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

  async #acceptNow(signal: NewSignal): Promise<void> {
    if (this.#closed) throw new Error("The BatchProcessor is closed and accepts no more signals.")
    const text = encodeSignal(signal)
    const bytes = utf8Bytes(text)
    await this.#recovered
    this.#makeRoom()
    await this.#buffer.enter(bytes)
    try {
      await this.#options.spool?.append(text)
    } catch (error) {
      this.#buffer.leave(1, bytes)
      throw error
    }
    this.#take(text, bytes)
  }

  async #end(): Promise<void> {
    const timer = setTimeout(() => this.#giveUp(), this.#options.closeDeadlineMs)
    try {
      this.#pauses.end()
      await this.#recovered
      do {
        await this.#sendAll()
        await Promise.allSettled(this.#adding)
      } while (this.#adding.size > 0 || this.#loose.length > 0 || this.#unsettled.size > 0)
      this.#reports.throwError()
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
    this.#pauses.abort()
  }

  async #sendAll(): Promise<void> {
    this.#cut()
    await this.#cutting
    await Promise.all(this.#unsettled)
  }

  async #recover(): Promise<void> {
    const { spool } = this.#options
    if (!spool) return
    this.#caller = await this.#client.callerId()
    const { batches, loose } = await spool.recover()
    for (const { caller, ...batch } of batches) {
      const isForeign = caller !== this.#caller
      this.#send({ ...batch, texts: undefined, isDamaged: false, isForeign, since: performance.now() })
    }
    for (const text of loose) {
      const bytes = utf8Bytes(text)
      this.#buffer.force(1, bytes)
      this.#take(text, bytes)
    }
  }

  #take(text: string, bytes: number): void {
    const { maxCount, maxBytes, maxWaitMs } = this.#options
    if (this.#looseBytes + bytes > maxBytes && this.#loose.length > 0) this.#cut()
    this.#loose.push(text)
    this.#looseBytes += bytes
    if (this.#loose.length >= maxCount || this.#looseBytes >= maxBytes || this.#isStuck()) this.#cut()
    else this.#timer ??= setTimeout(() => this.#cut(), this.#closed ? 0 : maxWaitMs)
  }

  /** The loose signals fill the buffer: no signal can join them, and nothing that is sent makes room. */
  #isStuck(): boolean {
    return this.#buffer.isFull && this.#unsettled.size === 0 && this.#cuts === 0
  }

  /** Lets waiting batches leave the memory while the buffer is full; the spool has them. The newest first. */
  #makeRoom(): void {
    if (this.#isStuck()) this.#cut()
    if (!this.#options.spool || !this.#buffer.isFull) return
    for (const batch of [...this.#waiting].reverse()) {
      if (!this.#buffer.isFull) return
      this.#unload(batch)
    }
  }

  #unload(batch: Batch): void {
    this.#waiting.delete(batch)
    if (!batch.texts) return
    batch.texts = undefined
    this.#buffer.leave(batch.count, batch.bytes)
  }

  /** Makes a batch of the loose signals. */
  #cut(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#loose.length === 0) return
    const texts = this.#loose
    const batch = {
      ...{ key: newKey(), count: texts.length, bytes: this.#looseBytes, texts },
      ...{ isDamaged: false, isForeign: false, since: performance.now() },
    }
    this.#loose = []
    this.#looseBytes = 0
    this.#cuts++
    this.#cutting = this.#cutting.then(() => this.#cutInSpool(batch)).finally(() => this.#cuts--)
  }

  /** Never rejects. A disk that fails may recover, and no batch may overtake this one. */
  async #cutInSpool(batch: Batch): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#options.spool?.cut(batch.key, batch.count, this.#caller)
        return this.#send(batch)
      } catch (error) {
        if (this.#ending.signal.aborted) return this.#settleUndelivered(batch, error)
        await this.#pauseAfter(batch, attempt, error)
      }
    }
  }

  #send(batch: Batch): void {
    const settled = this.#sendUntilSettled(batch).finally(() => this.#unsettled.delete(settled))
    this.#unsettled.add(settled)
  }

  /** Never rejects. Between two attempts the batch has no slot, so that it does not keep others waiting. */
  async #sendUntilSettled(batch: Batch): Promise<void> {
    let last: unknown
    for (let attempt = 1; ; attempt++) {
      if (batch.texts) this.#waiting.add(batch)
      this.#makeRoom()
      try {
        await this.#slots.enter()
      } catch {
        return this.#settleUndelivered(batch, this.#endingError(last))
      } finally {
        this.#waiting.delete(batch)
      }
      try {
        await this.#attempt(batch)
        this.#settle(batch)
        return
      } catch (error) {
        if (!(error instanceof AbortedError)) last = error
      } finally {
        this.#slots.leave(1)
      }
      if (this.#ending.signal.aborted) return this.#settleUndelivered(batch, this.#endingError(last))
      if (this.#isFinal(batch, last)) return this.#settleUndelivered(batch, last)
      await this.#pauseAfter(batch, attempt, last)
    }
  }

  /** @throws {Error} the batch is not settled */
  async #attempt(batch: Batch): Promise<void> {
    const { spool, headers, otherCallers } = this.#options
    const texts = batch.texts ?? (await this.#load(batch))
    const isSafe = !batch.isForeign || otherCallers === "send" || texts.every(hasDedupeKey)
    if (!isSafe) throw new OtherCaller()
    const failures = await deliverTexts(this.#client, texts, {
      idempotencyKey: batch.key,
      deadlineMs: this.#deadlineMs(batch),
      headers,
      isDamaged: batch.isDamaged,
      signal: this.#ending.signal,
    })
    for (const { index, ...why } of failures) {
      const text = texts[index]
      if (text !== undefined) this.#reports.failure({ signal: decodeSignal(text), ...why })
    }
    await spool?.done(batch.key)
  }

  /** Reads a batch from the spool again. */
  async #load(batch: Batch): Promise<string[]> {
    const { signals = [], isDamaged = true } = (await this.#options.spool?.read(batch.key)) ?? {}
    this.#buffer.force(batch.count, batch.bytes)
    batch.texts = signals
    batch.isDamaged = isDamaged
    return signals
  }

  /** An attempt ends when the batch is given up. */
  #deadlineMs({ since }: Batch): number | undefined {
    const { deadlineMs = this.#client.deadlineMs, giveUpMs, spool } = this.#options
    const leftMs = Math.ceil(since + giveUpMs - performance.now())
    return spool ? deadlineMs : Math.max(1, Math.min(deadlineMs, leftMs))
  }

  /** Whether another attempt at a batch would be of no use. */
  #isFinal({ since }: Batch, error: unknown): boolean {
    const { giveUpMs, spool } = this.#options
    if (
      isRefusal(error) ||
      error instanceof OtherCaller ||
      error instanceof TypeError ||
      error instanceof RangeError
    )
      return true
    // Nobody repairs a key or an address while the process ends.
    if (this.#closed && (error instanceof UnauthorizedError || error instanceof RequestError)) return true
    return !spool && performance.now() - since >= giveUpMs
  }

  async #pauseAfter({ count, since }: Batch, attempt: number, error: unknown): Promise<void> {
    const { giveUpMs, spool } = this.#options
    const leftMs = spool ? Number.POSITIVE_INFINITY : Math.max(0, since + giveUpMs - performance.now())
    const waitMs = Math.min(leftMs, pauseMs(this.#closed ? 1 : attempt, error))
    this.#reports.retry({ count, attempt, waitMs, reason: errorOf(error) })
    await this.#pauses.wait(waitMs, retryAfterOf(error))
  }

  #settle(batch: Batch): void {
    const { texts, count, bytes } = batch
    batch.texts = undefined
    if (texts) this.#buffer.leave(count, bytes)
  }

  #settleUndelivered(batch: Batch, error: unknown): void {
    const kept = this.#options.spool !== undefined
    const signals = kept ? [] : (batch.texts ?? []).map(decodeSignal)
    this.#settle(batch)
    this.#reports.undelivered({ count: batch.count, signals, error: errorOf(error), kept })
  }

  #endingError(last: unknown): Error {
    const { message } = errorOf(this.#ending.signal.reason)
    return new DeadlineError(message, last instanceof SignalError ? last : undefined)
  }
}
