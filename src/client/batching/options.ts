import type { FailureCode, NewSignal } from "../api/types.ts"
import { checkRange, MAX_TIMER_MS } from "../base/guards.ts"
import type { Spool } from "../spool/types.ts"

/** A signal that the service refused. */
export interface Unstored {
  signal: NewSignal
  /** The rule that the signal breaks, as one sentence. */
  error: string
  code: FailureCode
  /** The field that the error is about, where there is one. */
  field?: string | undefined
  /** The same signal may be stored when it is sent again later. */
  retryable: boolean
}

/** A batch that was not sent in time, or that the service refused as a whole. */
export interface Undelivered {
  signals: readonly NewSignal[]
  /** A `SignalError`, or the file system's error when the spool cannot be written. */
  error: Error
  /** The spool keeps the batch, and the next run sends it again. */
  kept: boolean
}

export interface ProcessorOptions {
  /** Signals after which a batch is sent. Default: 100, at most 10,000. */
  maxCount?: number | undefined
  /** Bytes of JSON after which a batch is sent. Default: 1 MiB. */
  maxBytes?: number | undefined
  /** How long a signal waits for others. Default: 1,000. */
  maxWaitMs?: number | undefined
  /** Batches in flight at once. Default: 4. */
  maxInFlight?: number | undefined
  /** Signals that `add` has accepted and that are not settled; beyond it, `add` waits. Default: 10,000. */
  maxBuffered?: number | undefined
  /** The same in bytes of JSON. Default: 64 MiB. A larger signal is accepted when it is alone. */
  maxBufferedBytes?: number | undefined
  /** Calls of `add` that may wait at once; the next one rejects. Default: 10,000. */
  maxWaitingAdds?: number | undefined
  /** How long a batch is tried. Default: the client's. */
  deadlineMs?: number | undefined
  /** More headers of each request, such as a `traceparent`. The library's own win. */
  headers?: Readonly<Record<string, string>> | undefined
  /**
   * The longest time of `close`; signals that are not sent by then go to `onUndelivered`. Default: 60,000.
   */
  closeDeadlineMs?: number | undefined
  /** Receives each signal that the service refused; the others of its batch are stored. */
  onFailure?: ((failure: Unstored) => void) | undefined
  /**
   * Receives each batch that was not delivered. Without it, `flush` and `close` reject with the first such
   * error.
   */
  onUndelivered?: ((batch: Undelivered) => void) | undefined
  /**
   * Keeps the accepted signals on disk, so that a crash does not lose them. The processor closes the spool.
   */
  spool?: Spool | undefined
}

/** The options with a default, each with its default and its range. */
const RANGES = {
  maxCount: { standard: 100, min: 1, max: 10_000 },
  maxBytes: { standard: 1024 ** 2, min: 1, max: 1024 ** 3 },
  maxWaitMs: { standard: 1000, min: 0, max: MAX_TIMER_MS },
  maxInFlight: { standard: 4, min: 1, max: 1000 },
  maxBuffered: { standard: 10_000, min: 1, max: 10_000_000 },
  maxBufferedBytes: { standard: 64 * 1024 ** 2, min: 1, max: 1024 ** 4 },
  maxWaitingAdds: { standard: 10_000, min: 0, max: 10_000_000 },
  closeDeadlineMs: { standard: 60_000, min: 0, max: MAX_TIMER_MS },
} as const

export type SettledOptions = ProcessorOptions & Record<keyof typeof RANGES, number>

/** @throws {RangeError} an option is out of its range */
export function settleOptions(options: ProcessorOptions): SettledOptions {
  const settled = (name: keyof typeof RANGES) =>
    checkRange(name, options[name] ?? RANGES[name].standard, RANGES[name].min, RANGES[name].max)
  return {
    ...options,
    maxCount: settled("maxCount"),
    maxBytes: settled("maxBytes"),
    maxWaitMs: settled("maxWaitMs"),
    maxInFlight: settled("maxInFlight"),
    maxBuffered: settled("maxBuffered"),
    maxBufferedBytes: settled("maxBufferedBytes"),
    maxWaitingAdds: settled("maxWaitingAdds"),
    closeDeadlineMs: settled("closeDeadlineMs"),
  }
}
