import type { FailureCode, NewSignal } from "../api/types.ts"
import { checkRange, MAX_TIMER_MS } from "../base/guards.ts"
import { headersOf } from "../http/address.ts"
import type { Spool } from "../spool/types.ts"

/** A signal that was not stored. */
export interface Unstored {
  /** What was added, as it was then. */
  signal: NewSignal
  /** The rule that the signal breaks, as one sentence. */
  error: string
  code: FailureCode
  /** The field that the error is about, where there is one. */
  field?: string | undefined
  /** The same signal may be stored when it is sent again later. */
  retryable: boolean
}

/**
 * Signals that were accepted, or whose `add` nobody awaits, and that this processor does not send any more.
 */
export interface Undelivered {
  /** How many they are. */
  count: number
  /** The signals, as they were when they were added; empty when they are `kept`: the spool has them. */
  signals: readonly NewSignal[]
  /** Why: a `SignalError`, or an error of the file system. */
  error: Error
  /** The spool keeps the signals, and the next run sends them. Otherwise they are only here. */
  kept: boolean
}

/** A batch that will be sent again. */
export interface BatchRetry {
  /** Signals of the batch. */
  count: number
  /** How often it was sent, from 1. */
  attempt: number
  waitMs: number
  reason: Error
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
  /**
   * Signals in memory that are not settled. Beyond it, `add` waits; with a spool, the batches that wait leave
   * the memory first. Default: 10,000.
   */
  maxBuffered?: number | undefined
  /** The same in bytes of JSON. Default: 64 MiB. A larger signal is accepted when it is alone. */
  maxBufferedBytes?: number | undefined
  /** Calls of `add` that may wait at once; the next one rejects. Default: 10,000. */
  maxWaitingAdds?: number | undefined
  /**
   * How long one attempt at a batch may take, its own retries included. The batch is sent again after it.
   * Default: the client's.
   */
  deadlineMs?: number | undefined
  /**
   * How long a batch is sent again before it goes to `onUndelivered`. A batch of a spool is sent again as
   * long as the processor lives. Default: 86,400,000, a day; at most 518,400,000, six days, since the service
   * keeps an idempotency key for seven.
   */
  giveUpMs?: number | undefined
  /** More headers of each request, such as a `traceparent`. The library's own win. */
  headers?: Readonly<Record<string, string>> | undefined
  /**
   * The longest time of `close`; signals that are not sent by then go to `onUndelivered`. Default: 60,000.
   */
  closeDeadlineMs?: number | undefined
  /**
   * What to do with batches of the spool that were sent with another API key or address, and may be stored
   * already. `keep` (the default) leaves them on disk and reports them; `send` sends them again: those that
   * are stored are then stored twice. Batches whose every signal has a `dedupe_key` are sent in any case.
   */
  otherCallers?: "keep" | "send" | undefined
  /** Receives each signal that cannot be stored; the others of its batch are stored. */
  onFailure?: ((failure: Unstored) => void) | undefined
  /**
   * Receives the signals that are not sent any more. Without it, `flush` and `close` reject with the first
   * such error.
   */
  onUndelivered?: ((batch: Undelivered) => void) | undefined
  /** Called before each wait for the next attempt at a batch: the service is away, or refuses the key. */
  onRetry?: ((retry: BatchRetry) => void) | undefined
  /**
   * Keeps the accepted signals on disk, so that a crash does not lose them. The processor closes the spool.
   */
  spool?: Spool | undefined
}

const DAY_MS = 86_400_000

/** The options with a default, each with its default and its range. */
const RANGES = {
  maxCount: { standard: 100, min: 1, max: 10_000 },
  maxBytes: { standard: 1024 ** 2, min: 1, max: 1024 ** 3 },
  maxWaitMs: { standard: 1000, min: 0, max: MAX_TIMER_MS },
  maxInFlight: { standard: 4, min: 1, max: 1000 },
  maxBuffered: { standard: 10_000, min: 1, max: 10_000_000 },
  maxBufferedBytes: { standard: 64 * 1024 ** 2, min: 1, max: 1024 ** 4 },
  maxWaitingAdds: { standard: 10_000, min: 0, max: 10_000_000 },
  giveUpMs: { standard: DAY_MS, min: 1, max: 6 * DAY_MS },
  closeDeadlineMs: { standard: 60_000, min: 0, max: MAX_TIMER_MS },
} as const

type Ranged = keyof typeof RANGES
export type SettledOptions = ProcessorOptions & Record<Ranged, number>

/** @throws {RangeError | TypeError} an option is out of its range, or a header is invalid */
export function settleOptions(options: ProcessorOptions): SettledOptions {
  const settled = Object.entries(RANGES).map(([name, { standard, min, max }]) => [
    name,
    checkRange(name, options[name as Ranged] ?? standard, min, max),
  ])
  if (options.deadlineMs !== undefined) checkRange("deadlineMs", options.deadlineMs, 1, MAX_TIMER_MS)
  headersOf(options.headers)
  return { ...options, ...(Object.fromEntries(settled) as Record<Ranged, number>) }
}
