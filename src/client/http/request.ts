import {
  AbortedError,
  DeadlineError,
  RateLimitedError,
  RequestError,
  SignalError,
  UnavailableError,
} from "../api/errors.ts"
import { decideRedirect } from "./address.ts"
import { type AnswerReader, readAnswer } from "./answer.ts"

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

export interface SendOptions extends CallOptions {
  /**
   * Names the request, with 1 to 255 visible ASCII characters: the service stores the requests of one key
   * once. Default: a new key each call, the same for all its attempts.
   */
  idempotencyKey?: string | undefined
}

export interface BatchOptions extends SendOptions {
  /** Store every signal or none. Default: false; each signal succeeds or fails alone. */
  allOrNothing?: boolean | undefined
  /** Leave the successful signals out of `results`. */
  minimal?: boolean | undefined
  /**
   * A signal of the wrong shape fails alone, instead of the whole batch with a `ValidationError`. Has no
   * effect with `allOrNothing`.
   */
  lenient?: boolean | undefined
}

export interface Call {
  url: URL
  method: "GET" | "POST" | "PATCH" | "DELETE"
  headers: Headers
  body?: string | Uint8Array<ArrayBuffer> | undefined
}

export interface CallLimits {
  deadlineMs: number
  answer: AnswerReader
  /** Called with each answer, before its body is read. */
  onResponse?: ((response: Response) => void) | undefined
}

/** The longest wait before attempt 2, 3, 4 and so on is 200, 400, 800 ms, up to 20 s. */
const FIRST_WAIT_MS = 200
const LONGEST_WAIT_MS = 20_000
/** As many as browsers' `fetch` would need for any sound set-up; more are a loop. */
const MAX_REDIRECTS = 5

/**
 * The wait before the next attempt, with full jitter and not before `Retry-After`.
 *
 * @param attempt the number of the attempt that failed, from 1
 * @see https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export function backoffMs(
  attempt: number,
  retryAfterMs = 0,
  { firstMs = FIRST_WAIT_MS, longestMs = LONGEST_WAIT_MS }: { firstMs?: number; longestMs?: number } = {},
): number {
  const jitterMs = Math.random() * Math.min(longestMs, firstMs * 2 ** (attempt - 1))
  return Math.ceil(Math.max(jitterMs, retryAfterMs))
}

/**
 * Makes a call and returns the JSON of its answer. Retries after 408, 425, 429, a 5xx other than 501, a lost
 * connection and an answer that is incomplete or not the service's, until the deadline. Time is that of
 * `performance.now()`, which nobody sets back.
 *
 * @throws {SignalError}
 */
export async function callUntilAnswered(
  fetcher: typeof fetch,
  call: Call,
  { signal, onRetry, deadlineMs, answer, onResponse }: CallOptions & CallLimits,
): Promise<unknown> {
  const endsAt = performance.now() + deadlineMs
  let last: RateLimitedError | UnavailableError | undefined
  for (let attempt = 1; ; attempt++) {
    if (signal?.aborted) throw new AbortedError(signal.reason)
    const leftMs = endsAt - performance.now()
    if (leftMs <= 0) throw new DeadlineError(`no answer within ${deadlineMs} ms`, last)
    const outcome = await callOnce(fetcher, call, { leftMs, signal, answer, onResponse })
    if ("json" in outcome) return outcome.json
    // The attempt that the deadline ended says less than the one before it.
    if (!outcome.timedOut || !last) last = outcome.retriable
    const { retryAfterMs = 0 } = last
    const waitMs = backoffMs(attempt, retryAfterMs)
    if (performance.now() + waitMs >= endsAt)
      throw new DeadlineError(
        waitMs > deadlineMs && waitMs <= retryAfterMs
          ? `the service asks to wait ${retryAfterMs} ms, longer than the deadline of ${deadlineMs} ms`
          : `no answer within ${deadlineMs} ms`,
        last,
      )
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
  call: Call,
  { leftMs, signal, answer, onResponse }: Omit<CallLimits, "deadlineMs"> & Attempt,
): Promise<{ json: unknown } | { retriable: RateLimitedError | UnavailableError; timedOut: boolean }> {
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
    const response = await fetchAnswer(fetcher, call, attempt.signal)
    onResponse?.(response)
    // The body is read under the same timer: a connection may be lost in the middle of an answer.
    return { json: await readAnswer(response, answer) }
  } catch (cause) {
    if (signal?.aborted) throw new AbortedError(signal.reason)
    if (cause instanceof RateLimitedError || cause instanceof UnavailableError)
      return { retriable: cause, timedOut: false }
    if (cause instanceof SignalError) throw cause
    const reason = reasonOf(cause)
    // undici refuses some ports, as browsers do, before it connects.
    if (reason === "bad port") throw new RequestError("fetch does not call this port (bad port)", { cause })
    const message = timedOut ? "no answer in time" : `the service cannot be reached: ${reason}`
    return { retriable: new UnavailableError(message, { cause }), timedOut }
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener("abort", abort)
  }
}

/** Fetches the answer that is no redirect. @throws {RequestError} a redirect is not followed */
async function fetchAnswer(
  fetcher: typeof fetch,
  { url, method, headers, body }: Call,
  signal: AbortSignal,
): Promise<Response> {
  let target = url
  for (let redirects = 0; ; redirects++) {
    const response = await fetcher(target, {
      method,
      headers,
      signal,
      // `fetch` itself would repeat a POST as a GET, and drop the key at another origin.
      redirect: "manual",
      ...(body !== undefined && { body }),
    })
    // Browsers show a redirect as status 0.
    const isRedirect = response.status === 0 || (response.status >= 300 && response.status < 400)
    if (!isRedirect) return response
    response.body?.cancel().catch(() => {})
    const context = {
      status: response.status || undefined,
      requestId: response.headers.get("X-Request-Id") ?? undefined,
    }
    const decision = decideRedirect(target, response.status, response.headers.get("Location"))
    if ("refusal" in decision) throw new RequestError(decision.refusal, context)
    if (redirects === MAX_REDIRECTS)
      throw new RequestError(`the answer is a redirect for the ${MAX_REDIRECTS + 1}th time`, context)
    target = decision.follow
  }
}

/** The innermost cause: "fetch failed" does not give the reason. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const inner: unknown = error instanceof AggregateError ? error.errors.at(-1) : error.cause
  if (inner !== undefined && inner !== null) return reasonOf(inner)
  const { code } = error as { code?: unknown }
  const isNamed = typeof code !== "string" || error.message.includes(code)
  return isNamed ? error.message : `${error.message} (${code})`
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
