import {
  type AnswerContext,
  BatchRejectedError,
  RateLimitedError,
  RequestError,
  type SignalError,
  UnauthorizedError,
  UnavailableError,
  ValidationError,
} from "./errors.ts"
import type { Failure, ProblemCode, ShapeError } from "./types.ts"

/**
 * Reads an answer.
 *
 * @returns the JSON of a success
 * @throws {RateLimitedError | UnavailableError} a retry may help: the service says so, or the answer is not
 *   JSON or larger than `maxBytes`
 * @throws {SignalError} the service refused the request for good
 * @throws {unknown} the runtime's error when the connection is lost
 */
export async function readAnswer(
  response: Response,
  maxBytes: number,
  parse: (text: string) => unknown = JSON.parse,
): Promise<unknown> {
  const context = { status: response.status, requestId: response.headers.get("X-Request-Id") ?? undefined }
  const text = await readText(response, maxBytes)
  if (text === undefined)
    throw new UnavailableError(`the answer is larger than ${maxBytes} bytes (maxAnswerBytes)`, context)
  const json = jsonOf(text, parse)
  if (!response.ok) throw errorOf(response, isObject(json) ? json : {}, context)
  // A proxy's page, or an answer that was cut off: the request may be stored.
  if (json === undefined) throw new UnavailableError("the answer is not JSON", context)
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
  if (status === 408 || (status >= 500 && status !== 501)) {
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

/** Seconds or a date (RFC 9110, section 10.2.3), as milliseconds from now. */
function readRetryAfter(header: string | null): number | undefined {
  if (header === null) return undefined
  if (/^\d+$/.test(header)) return Number(header) * 1000
  const at = Date.parse(header)
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now())
}
