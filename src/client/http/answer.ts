import {
  type AnswerContext,
  BatchRejectedError,
  RateLimitedError,
  RequestError,
  type SignalError,
  UnauthorizedError,
  UnavailableError,
  ValidationError,
} from "../api/errors.ts"
import type { Failure, ProblemCode, ShapeError } from "../api/types.ts"

/** How an answer is read. */
export interface AnswerReader {
  /** Bytes of the body, decoded, that are read. */
  maxBytes: number
  /** Default: `JSON.parse`. */
  parse?: ((text: string) => unknown) | undefined
  /** Whether the JSON of a success has the fields that the call uses. */
  isExpected: (json: unknown) => boolean
  /** The API key, which no message may have: a proxy's error may repeat the headers that it got. */
  secret?: string | undefined
}

/**
 * Reads an answer.
 *
 * @returns the JSON of a success
 * @throws {RateLimitedError | UnavailableError} a retry may help: the service says so, or the answer is not
 *   JSON, not this service's, or larger than `maxBytes`
 * @throws {SignalError} the service refused the request for good
 * @throws {unknown} the runtime's error when the connection is lost
 */
export async function readAnswer(
  response: Response,
  { maxBytes, parse = JSON.parse, isExpected, secret }: AnswerReader,
): Promise<unknown> {
  const context = { status: response.status, requestId: response.headers.get("X-Request-Id") ?? undefined }
  const body = await readText(response, maxBytes)
  const text = response.ok || !secret ? body : body?.replaceAll(secret, "[key]")
  if (text === undefined)
    throw new UnavailableError(`the answer is larger than ${maxBytes} bytes (maxAnswerBytes)`, context)
  const json = jsonOf(text, parse)
  if (!response.ok) throw errorOf(response, isObject(json) ? json : {}, context)
  // A proxy's page, or an answer that was cut off: the request may be stored.
  if (json === undefined) throw new UnavailableError("the answer is not JSON", context)
  // A success with another meaning, such as a maintenance page, says nothing about the request.
  if (!isExpected(json)) throw new UnavailableError("the answer is not one of signal-ingest", context)
  return json
}

/** The text of a body; undefined when it is larger than `maxBytes`. No more than that is held. */
async function readText({ body }: Response, maxBytes: number): Promise<string | undefined> {
  if (!body) return ""
  const decoder = new TextDecoder()
  const reader = body.getReader()
  let text = ""
  for (let bytes = 0; ; ) {
    const { done, value } = await reader.read()
    if (done) return text + decoder.decode()
    bytes += value.length
    if (bytes > maxBytes) {
      reader.cancel().catch(() => {})
      return undefined
    }
    text += decoder.decode(value, { stream: true })
  }
}

/** Request Timeout, Too Early (RFC 9110, RFC 8470). */
const RETRIED = new Set([408, 425])

function errorOf(
  { status, headers }: Response,
  body: Record<string, unknown>,
  answer: AnswerContext,
): SignalError {
  const { detail, errors, transaction_id, code } = body
  const context = { ...answer, code: typeof code === "string" ? (code as ProblemCode) : undefined }
  const message = typeof detail === "string" ? detail : `status ${status}`
  const retryAfterMs = readRetryAfter(headers.get("Retry-After"))
  if (status === 429) return new RateLimitedError(message, { ...context, retryAfterMs })
  if (RETRIED.has(status) || (status >= 500 && status !== 501)) {
    const transactionId = typeof transaction_id === "string" ? transaction_id : undefined
    return new UnavailableError(message, { ...context, retryAfterMs, transactionId })
  }
  if (status === 400 && Array.isArray(errors))
    return new BatchRejectedError(message, errors.filter(isFailure), context)
  if (status === 422 && Array.isArray(detail))
    return new ValidationError(detail.filter(isShapeError), context)
  if (status === 401 || status === 403) return new UnauthorizedError(message, context)
  return new RequestError(message, context)
}

function jsonOf(text: string, parse: (text: string) => unknown): unknown {
  try {
    return parse(text)
  } catch {
    return undefined
  }
}

/** A proxy in front of the service may answer as FastAPI does, and mean something else. */
const isFailure = (value: unknown): value is Failure => isObject(value) && typeof value.index === "number"
const isShapeError = (value: unknown): value is ShapeError =>
  isObject(value) &&
  typeof value.msg === "string" &&
  Array.isArray(value.loc) &&
  value.loc.every((step) => typeof step === "string" || typeof step === "number")

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null

/**
 * Seconds, also with a fraction, or a date (RFC 9110, section 10.2.3), as milliseconds from now. Undefined
 * when it is neither: `Date.parse` takes "2.5" for a day in 2001.
 */
export function readRetryAfter(header: string | null, now: number = Date.now()): number | undefined {
  if (header === null) return undefined
  if (/^\d+(\.\d+)?$/.test(header)) return Math.ceil(Number(header) * 1000)
  const at = /^(mon|tue|wed|thu|fri|sat|sun)/i.test(header) ? Date.parse(header) : Number.NaN
  return Number.isNaN(at) ? undefined : Math.max(0, at - now)
}
