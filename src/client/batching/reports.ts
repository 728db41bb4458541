import { InvalidSignalError } from "../api/errors.ts"
import type { NewSignal } from "../api/types.ts"
import { callSafely } from "../base/guards.ts"
import type { BatchRetry, ProcessorOptions, Undelivered, Unstored } from "./options.ts"
import { errorOf } from "./retry.ts"

/** Tells the caller of a `BatchProcessor` what became of signals: by callbacks, or by `flush` and `close`. */
export class Reports {
  readonly #callbacks: Pick<ProcessorOptions, "onFailure" | "onUndelivered" | "onRetry">
  /** The first error that no callback took. */
  #error: Error | undefined

  constructor(callbacks: Pick<ProcessorOptions, "onFailure" | "onUndelivered" | "onRetry">) {
    this.#callbacks = callbacks
  }

  failure(failure: Unstored): void {
    callSafely(() => this.#callbacks.onFailure?.(failure))
  }

  undelivered(undelivered: Undelivered): void {
    const { onUndelivered } = this.#callbacks
    if (onUndelivered) callSafely(() => onUndelivered(undelivered))
    else this.#error ??= undelivered.error
  }

  retry(retry: BatchRetry): void {
    callSafely(() => this.#callbacks.onRetry?.(retry))
  }

  /**
   * Reports the error of a call of `add` that nobody awaits.
   *
   * @param isClosed after `close`, nobody asks for the error any more
   */
  unaccepted(signal: NewSignal, thrown: unknown, isClosed: boolean): void {
    const error = errorOf(thrown)
    if (error instanceof InvalidSignalError && this.#callbacks.onFailure) {
      const { message, failureCode: code, field } = error
      this.failure({ signal, error: message, code, field, retryable: false })
    } else if (isClosed && !this.#callbacks.onUndelivered) console.error(error)
    else this.undelivered({ count: 1, signals: [signal], error, kept: false })
  }

  /** @throws {Error} the first error that no callback took */
  throwError(): void {
    const error = this.#error
    this.#error = undefined
    if (error) throw error
  }
}
