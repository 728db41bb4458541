import type { Failure, FailureCode, ProblemCode, ShapeError } from "./types.ts"

/** The answer that an error comes from. */
export interface AnswerContext {
  status?: number | undefined
  requestId?: string | undefined
  code?: ProblemCode | undefined
}

/** The error of every call of `SignalClient`. */
export abstract class SignalError extends Error {
  /** The status of the answer; undefined when there was none. */
  readonly status: number | undefined
  /**
   * The answer's `X-Request-Id`, by which the service's log names the request; undefined when there was no
   * answer.
   */
  readonly requestId: string | undefined
  /** The code of the answer; undefined when there was none. */
  readonly code: ProblemCode | undefined

  constructor(message: string, { status, requestId, code, cause }: AnswerContext & { cause?: unknown } = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.status = status
    this.requestId = requestId
    this.code = code
  }
}

/**
 * A value cannot be written as JSON without changing it, such as NaN or a cycle; the message names it.
 * Nothing was sent.
 */
export class InvalidSignalError extends SignalError {
  override readonly name = "InvalidSignalError"
  /** The code of the failure, as the service would give it. */
  readonly failureCode: FailureCode
  /** The field of the signal that has the value; undefined when it is the signal itself. */
  readonly field: string | undefined

  constructor(
    message: string,
    { failureCode, field, cause }: { failureCode: FailureCode; field?: string | undefined; cause?: unknown },
  ) {
    super(message, { cause })
    this.failureCode = failureCode
    this.field = field
  }
}

/** The shape of the request is wrong (422). Nothing was stored. */
export class ValidationError extends SignalError {
  override readonly name = "ValidationError"
  /** The first 100 errors; `loc` is such as `["body", "signals", 0, "context_window_id"]`. */
  readonly errors: readonly ShapeError[]
  /** The field that the first error is about; undefined when it is about one of many signals, or no field. */
  readonly field: string | undefined

  constructor(errors: readonly ShapeError[], answer: AnswerContext = {}) {
    const [first] = errors
    const more = errors.length > 1 ? `, and ${errors.length - 1} more` : ""
    super(first ? `${first.loc.join(".")}: ${first.msg}${more}` : "The request has the wrong shape.", answer)
    this.errors = errors
    this.field = fieldOf(first)
  }
}

/** A single signal is the body itself. The fields of a body with many signals are not a signal's. */
function fieldOf(error: ShapeError | undefined): string | undefined {
  const [place, field] = error?.loc ?? []
  return place === "body" && typeof field === "string" && field !== "signals" ? field : undefined
}

/** `allOrNothing` was set, and a signal broke a rule (400). Nothing was stored. */
export class BatchRejectedError extends SignalError {
  override readonly name = "BatchRejectedError"
  /** The index of the first signal that broke a rule. */
  readonly index: number
  /** Why that signal is not stored. */
  readonly failureCode: FailureCode | undefined
  /** The field that it is about, where it is one. */
  readonly field: string | undefined
  /** The same signal may be stored when it is sent again later. */
  readonly retryable: boolean
  readonly errors: readonly Failure[]

  constructor(message: string, errors: readonly Failure[], answer: AnswerContext = {}) {
    super(message, answer)
    const [first] = errors
    this.index = first?.index ?? 0
    this.failureCode = first?.code
    this.field = first?.field
    this.retryable = first?.retryable ?? false
    this.errors = errors
  }
}

/** The key is missing, unknown or lacks the scope (401, 403). Nothing was stored. */
export class UnauthorizedError extends SignalError {
  override readonly name = "UnauthorizedError"
}

/**
 * The request was refused for another reason, such as a limit (404, 405, 413, 415), a redirect that the
 * library does not follow (3xx), or an address that `fetch` does not call. Nothing was stored; a retry does
 * not help.
 */
export class RequestError extends SignalError {
  override readonly name = "RequestError"
}

/** The caller exceeded its rate (429). Nothing was stored. */
export class RateLimitedError extends SignalError {
  override readonly name = "RateLimitedError"
  readonly retryAfterMs: number | undefined

  constructor(
    message: string,
    { retryAfterMs, ...answer }: AnswerContext & { retryAfterMs?: number | undefined } = {},
  ) {
    super(message, answer)
    this.retryAfterMs = retryAfterMs
  }
}

/**
 * The service or its database is unavailable, the answer was lost, or the answer is not the service's. The
 * request may have been stored.
 */
export class UnavailableError extends SignalError {
  override readonly name = "UnavailableError"
  readonly retryAfterMs: number | undefined
  /** Set when the batch is in doubt. Call `SignalClient.batch` with it to learn whether it was stored. */
  readonly transactionId: string | undefined

  constructor(
    message: string,
    context: AnswerContext & {
      retryAfterMs?: number | undefined
      transactionId?: string | undefined
      cause?: unknown
    } = {},
  ) {
    super(message, context)
    this.retryAfterMs = context.retryAfterMs
    this.transactionId = context.transactionId
  }
}

/**
 * No good answer arrived in time; `cause`, `status` and `requestId` are those of the last bad one. The
 * request may have been stored: sending it again under the same idempotency key is safe.
 */
export class DeadlineError extends SignalError {
  override readonly name = "DeadlineError"

  constructor(message: string, last?: SignalError) {
    super(last ? `${message}; the last answer: ${last.message}` : message, {
      status: last?.status,
      requestId: last?.requestId,
      code: last?.code,
      cause: last,
    })
  }
}

/** The caller's `AbortSignal` ended the call; `cause` is its reason. The request may have been stored. */
export class AbortedError extends SignalError {
  override readonly name = "AbortedError"

  constructor(cause: unknown) {
    super("The call was aborted.", { cause })
  }
}
