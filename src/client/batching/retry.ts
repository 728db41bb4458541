import {
  BatchRejectedError,
  DeadlineError,
  RateLimitedError,
  UnavailableError,
  ValidationError,
} from "../api/errors.ts"
import { decodeSignal } from "../base/encode.ts"
import { backoffMs } from "../http/request.ts"

const FIRST_PAUSE_MS = 1000
const LONGEST_PAUSE_MS = 60_000
/** A `Retry-After` beyond this is more likely a mistake of something in front of the service. */
const LONGEST_RETRY_AFTER_MS = 3_600_000

/**
 * The pause before a batch is sent again, with full jitter up to a minute and not before `Retry-After`.
 *
 * @param attempt the number of the attempt that failed, from 1
 * @param error what the attempt ended with
 */
export function pauseMs(attempt: number, error?: unknown): number {
  const limits = { firstMs: FIRST_PAUSE_MS, longestMs: LONGEST_PAUSE_MS }
  return backoffMs(attempt, retryAfterOf(error), limits)
}

/** How long the last answer asks to wait, in milliseconds; undefined when it says nothing. */
export function retryAfterOf(error: unknown): number | undefined {
  if (error instanceof DeadlineError) return retryAfterOf(error.cause)
  const isAnswer = error instanceof RateLimitedError || error instanceof UnavailableError
  return isAnswer && error.retryAfterMs !== undefined
    ? Math.min(LONGEST_RETRY_AFTER_MS, error.retryAfterMs)
    : undefined
}

/**
 * Whether the service itself refuses what a batch holds, so that sending it again does not help. Everything
 * else may end while the batch waits: an outage, a wrong key, a wrong setting, a page of a proxy.
 */
export const isRefusal = (error: unknown): boolean =>
  (error instanceof ValidationError || error instanceof BatchRejectedError) && error.code !== undefined

/** A batch of the spool may be stored already, under the key of another caller. */
export class OtherCaller extends Error {
  constructor() {
    super(
      'The spool has a batch that was sent with another API key or to another address, and it may be stored already. It stays in the spool. Open the spool once with that key and address, or pass `otherCallers: "send"` to send such batches again: those that are stored are then stored twice.',
    )
  }
}

/** A signal with a `dedupe_key` is stored once, whoever sends it. */
export const hasDedupeKey = (text: string): boolean => typeof decodeSignal(text).dedupe_key === "string"

export const errorOf = (thrown: unknown): Error =>
  thrown instanceof Error ? thrown : new Error(String(thrown))
