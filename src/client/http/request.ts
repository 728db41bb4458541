import { readAnswer } from "../answer.ts"
import { AbortedError, DeadlineError, RateLimitedError, SignalError, UnavailableError } from "../errors.ts"

export interface CallOptions {
  /** How long the call may take, all its attempts included. Default: the client's. */
  deadlineMs?: number | undefined
  /** Aborts the call. */
  signal?: AbortSignal | undefined
  /** More headers, such as `traceparent`. A header of the library replaces one of the same name. */
  headers?: Readonly<Record<string, string>> | undefined
  /** Called before each wait. */
  onRetry?: ((retry: { attempt: number; waitMs: number; reason: SignalError }) => void) | undefined
}

export interface Call {
  url: URL
  method: "GET" | "POST" | "DELETE"
  headers: Headers
  body?: string | Uint8Array<ArrayBuffer> | undefined
}

export interface CallLimits {
  deadlineMs: number
  maxAnswerBytes: number
  /** Reads the JSON of an answer. */
  parse?: ((text: string) => unknown) | undefined
  /** Called with each answer, before its body is read. */
  onResponse?: ((response: Response) => void) | undefined
}

const FIRST_WAIT_MS = 200
const LONGEST_WAIT_MS = 20_000

/**
 * Makes a call and returns the JSON of its answer. Retries after 408, 429, a 5xx, a lost connection or an
 * incomplete answer, with full jitter and not before `Retry-After`, until the deadline.
 *
 * @throws {SignalError}
 * @see https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export async function callUntilAnswered(
  fetcher: typeof fetch,
  call: Call,
  { signal, onRetry, deadlineMs, maxAnswerBytes, parse, onResponse }: CallOptions & CallLimits,
): Promise<unknown> {
  const endsAt = Date.now() + deadlineMs
  let last: RateLimitedError | UnavailableError | undefined
  for (let attempt = 1; ; attempt++) {
    if (signal?.aborted) throw new AbortedError(signal.reason)
    const leftMs = endsAt - Date.now()
    if (leftMs <= 0) throw new DeadlineError(`no answer within ${deadlineMs} ms`, last)
    const answer = await callOnce(fetcher, call, { leftMs, signal, maxAnswerBytes, parse, onResponse })
    if ("json" in answer) return answer.json
    last = answer.retriable
    const backoffMs = Math.random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (attempt - 1))
    const waitMs = Math.ceil(Math.max(backoffMs, last.retryAfterMs ?? 0))
    if (Date.now() + waitMs >= endsAt) throw new DeadlineError(`no answer within ${deadlineMs} ms`, last)
    onRetry?.({ attempt, waitMs, reason: last })
    await wait(waitMs, signal)
  }
}

interface Attempt {
  leftMs: number
  signal: AbortSignal | undefined
}

/** Makes one attempt. @throws {SignalError} a retry does not help */
async function callOnce(
  fetcher: typeof fetch,
  { url, method, headers, body }: Call,
  { leftMs, signal, maxAnswerBytes, parse, onResponse }: Omit<CallLimits, "deadlineMs"> & Attempt,
): Promise<{ json: unknown } | { retriable: RateLimitedError | UnavailableError }> {
  // AbortSignal.timeout would hold the request until its time is over, long after the answer.
  const attempt = new AbortController()
  let timedOut = false
  const timer = setTimeout(() => {
    timedOut = true
    attempt.abort()
  }, leftMs)
  const abort = () => attempt.abort()
  signal?.addEventListener("abort", abort, { once: true })
  try {
    const response = await fetcher(url, {
      method,
      headers,
      signal: attempt.signal,
      ...(body !== undefined && { body }),
    })
    onResponse?.(response)
    // The body is read under the same timer: a connection may be lost in the middle of an answer.
    return { json: await readAnswer(response, maxAnswerBytes, parse) }
  } catch (cause) {
    if (signal?.aborted) throw new AbortedError(signal.reason)
    if (cause instanceof RateLimitedError || cause instanceof UnavailableError) return { retriable: cause }
    if (cause instanceof SignalError) throw cause
    return {
      retriable: new UnavailableError(timedOut ? "no answer in time" : "the service cannot be reached", {
        cause,
      }),
    }
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener("abort", abort)
  }
}

/** @throws {AbortedError} */
export function wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    // `onRetry` may have aborted the call.
    if (signal?.aborted) return reject(new AbortedError(signal.reason))
    const abort = () => {
      clearTimeout(timer)
      reject(new AbortedError(signal?.reason))
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort)
      resolve()
    }, ms)
    signal?.addEventListener("abort", abort, { once: true })
  })
}
