import {
  BatchRejectedError,
  DeadlineError,
  RateLimitedError,
  UnavailableError,
  ValidationError,
} from "../api/errors.ts"
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
  const retryAfterMs = Math.min(LONGEST_RETRY_AFTER_MS, retryAfterOf(error) ?? 0)
  return backoffMs(attempt, retryAfterMs, { firstMs: FIRST_PAUSE_MS, longestMs: LONGEST_PAUSE_MS })
}

/** The last answer before the deadline may say how long to wait. */
function retryAfterOf(error: unknown): number | undefined {
  if (error instanceof DeadlineError) return retryAfterOf(error.cause)
  return error instanceof RateLimitedError || error instanceof UnavailableError
    ? error.retryAfterMs
    : undefined
}

/**
 * Whether the service itself refuses what a batch holds, so that sending it again does not help. Everything
 * else may end while the batch waits: an outage, a wrong key, a wrong setting, a page of a proxy.
 */
export const isRefusal = (error: unknown): boolean =>
  (error instanceof ValidationError || error instanceof BatchRejectedError) && error.code !== undefined
