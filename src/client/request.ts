import {
  AbortedError,
  BatchRejectedError,
  DeadlineError,
  RateLimitedError,
  RequestError,
  type SignalError,
  UnauthorizedError,
  UnavailableError,
  ValidationError,
} from "./errors.ts"

export interface CallOptions {
  /** How long the call may take, all its attempts included. Default: the client's. */
  deadlineMs?: number | undefined
  /** Aborts the call. */
  signal?: AbortSignal | undefined
  /** Told before each wait. */
  onRetry?: ((retry: { attempt: number; waitMs: number; reason: SignalError }) => void) | undefined
}

export interface Call {
  url: URL
  method: "GET" | "POST"
  headers: Record<string, string>
  body?: string | Uint8Array<ArrayBuffer> | undefined
}

const FIRST_WAIT_MS = 200
const LONGEST_WAIT_MS = 20_000

/**
 * Makes a call until it is answered for good: after 429, 502, 503, 504 and lost connections it is made again, with full jitter, not
 * before `Retry-After` has passed, until the deadline.
 *
 * @see https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export async function callUntilAnswered(
  fetcher: typeof fetch,
  call: Call,
  options: CallOptions & { deadlineMs: number },
): Promise<Response> {
  const { deadlineMs, signal, onRetry } = options
  const endsAt = Date.now() + deadlineMs
  let last: SignalError | undefined
  for (let attempt = 1; ; attempt++) {
    if (signal?.aborted) throw new AbortedError(signal.reason)
    const left = endsAt - Date.now()
    if (left <= 0) throw new DeadlineError(deadlineMs, last)
    const answer = await callOnce(fetcher, call, left, signal)
    if (answer instanceof Response) return answer
    last = answer
    const retryAfterMs =
      answer instanceof RateLimitedError || answer instanceof UnavailableError ? answer.retryAfterMs : undefined
    const backoffMs = Math.random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (attempt - 1))
    const waitMs = Math.ceil(Math.max(backoffMs, retryAfterMs ?? 0))
    if (Date.now() + waitMs >= endsAt) throw new DeadlineError(deadlineMs, last)
    onRetry?.({ attempt, waitMs, reason: answer })
    await wait(waitMs, signal)
  }
}

/** A good answer, or why there is none and it may be tried again. Throws what trying again won't help. */
async function callOnce(
  fetcher: typeof fetch,
  { url, method, headers, body }: Call,
  leftMs: number,
  signal: AbortSignal | undefined,
): Promise<Response | RateLimitedError | UnavailableError> {
  // Not AbortSignal.timeout, which would hold the request until its time is over, long after the answer.
  const attempt = new AbortController()
  let timedOut = false
  const timer = setTimeout(() => {
    timedOut = true
    attempt.abort()
  }, leftMs)
  const abort = () => attempt.abort()
  signal?.addEventListener("abort", abort, { once: true })
  let response: Response
  let text = ""
  try {
    response = await fetcher(url, { method, headers, signal: attempt.signal, ...(body !== undefined && { body }) })
    // Read under the same signals, whatever it says: a connection may be lost in the middle of an answer.
    text = await response.text()
  } catch (cause) {
    if (signal?.aborted) throw new AbortedError(signal.reason)
    return new UnavailableError(timedOut ? "no answer in time" : "the service can't be reached", { cause })
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener("abort", abort)
  }
  if (response.ok)
    return new Response(
      text || null,
      response.status === 204 ? { status: 204 } : { status: response.status, headers: response.headers },
    )
  return retriableFault(response, text)
}

function retriableFault(response: Response, text: string): RateLimitedError | UnavailableError {
  const { status } = response
  const body = readProblem(text)
  const detail = typeof body.detail === "string" ? body.detail : `status ${status}`
  const retryAfterMs = readRetryAfter(response.headers.get("Retry-After"))
  if (status === 429) return new RateLimitedError(detail, retryAfterMs)
  if (status >= 500 && status !== 501) {
    const transactionId = typeof body.transaction_id === "string" ? body.transaction_id : undefined
    return new UnavailableError(detail, { retryAfterMs, transactionId })
  }
  if (status === 400 && Array.isArray(body.errors)) throw new BatchRejectedError(detail, body.errors)
  if (status === 422 && Array.isArray(body.detail)) throw new ValidationError(body.detail)
  if (status === 401 || status === 403) throw new UnauthorizedError(status, detail)
  throw new RequestError(status, detail)
}

function readProblem(text: string): Record<string, unknown> {
  try {
    const body: unknown = JSON.parse(text)
    return typeof body === "object" && body !== null ? (body as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}

/** Seconds or a date (RFC 9110, section 10.2.3), as milliseconds from now. */
function readRetryAfter(header: string | null): number | undefined {
  if (header === null) return undefined
  if (/^\d+$/.test(header)) return Number(header) * 1000
  const at = Date.parse(header)
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now())
}

function wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    // Who is told of the wait may have aborted it already.
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
