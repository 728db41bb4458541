import { LoggableError } from "../../errors.ts"

/**
 * The least rate at which a body must arrive, and the longest time that it may be behind this rate. Waits for
 * room do not count.
 */
export const LEAST_BYTES_A_SECOND = 32 * 1024
export const LONGEST_PAUSE_MS = 10_000

/** What one streamed list may cost. */
export interface StreamBounds {
  /** Signals. */
  signals: number
  /** Statements, retries included. */
  statements: number
  /** How long it may take, in milliseconds. */
  totalMs: number
  /** How long its reader may take nothing, in milliseconds. */
  idleMs: number
}

/**
 * Statements are the Worker's subrequests, of which Cloudflare allows 10,000 a request on the paid plan, and
 * 1,000 on older ones. Signals cost CPU time, of which a request has 30 seconds by default: a million small
 * ones take about half of that. Where it is used up before, Cloudflare ends the request, which also fails the
 * transfer.
 *
 * @see https://developers.cloudflare.com/workers/platform/limits/
 */
export const STREAM_BOUNDS: StreamBounds = {
  signals: 1_000_000,
  statements: 900,
  totalMs: 15 * 60_000,
  idleMs: 60_000,
}

/**
 * Streams of an isolate at once. Each has one statement under way at most, of the 4 that all reads have by
 * default.
 */
export const MAX_STREAMS = 2

/** A statement reads so many signals, or ends by so many bytes before: what a stream holds. */
export const STREAM_PAGE = { signals: 5000, bytes: 2 * 1024 * 1024 }

/** A stream reached a bound before its end. */
export class StreamCutOff extends LoggableError {}

/** Readers of an isolate that can wait for the feed at once. Each of them reads once a second. */
export const MAX_WAITING_READERS = 32
