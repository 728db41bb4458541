import type { Failure, ShapeError } from "./types.ts"

/** Whatever a call of `SignalClient` rejects with. */
export abstract class SignalError extends Error {}

/** The shape of what was sent is wrong (422). Nothing was stored. */
export class ValidationError extends SignalError {
  override readonly name = "ValidationError"
  /** Every fault, up to 100; `loc` is such as `["body", "signals", 0, "context_window_id"]`. */
  readonly errors: readonly ShapeError[]

  constructor(errors: readonly ShapeError[]) {
    const [first] = errors
    super(
      first ? `${first.loc.join(".")}: ${first.msg}${errors.length > 1 ? `, and ${errors.length - 1} more` : ""}` : "wrong shape",
    )
    this.errors = errors
  }
}

/** All or nothing was asked for, and a signal was refused (400). Nothing was stored. */
export class BatchRejectedError extends SignalError {
  override readonly name = "BatchRejectedError"
  /** The place of the first signal that was refused. */
  readonly index: number
  readonly errors: readonly Failure[]

  constructor(message: string, errors: readonly Failure[]) {
    super(message)
    this.index = errors[0]?.index ?? 0
    this.errors = errors
  }
}

/** No key, one that is not known, or one without the scope (401, 403). */
export class UnauthorizedError extends SignalError {
  override readonly name = "UnauthorizedError"
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** Refused for another reason, such as a limit (404, 405, 413, 415). Sending it again would not help. */
export class RequestError extends SignalError {
  override readonly name = "RequestError"
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/** Over the caller's rate (429). */
export class RateLimitedError extends SignalError {
  override readonly name = "RateLimitedError"
  readonly retryAfterMs: number | undefined

  constructor(message: string, retryAfterMs: number | undefined) {
    super(message)
    this.retryAfterMs = retryAfterMs
  }
}

/** The service can't be reached, or can't reach its database. */
export class UnavailableError extends SignalError {
  override readonly name = "UnavailableError"
  readonly retryAfterMs: number | undefined
  /** Given when the batch may have been stored: `batch()` tells. */
  readonly transactionId: string | undefined

  constructor(
    message: string,
    more: { retryAfterMs?: number | undefined; transactionId?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause: more.cause })
    this.retryAfterMs = more.retryAfterMs
    this.transactionId = more.transactionId
  }
}

/** No good answer in time; `cause` is the last of the bad ones. Sending again under the same key is safe. */
export class DeadlineError extends SignalError {
  override readonly name = "DeadlineError"
  constructor(deadlineMs: number, cause: SignalError | undefined) {
    super(`no answer within ${deadlineMs} ms${cause ? `; the last: ${cause.message}` : ""}`, { cause })
  }
}

/** The caller's `AbortSignal` said so; `cause` is its reason. What was under way may have been stored. */
export class AbortedError extends SignalError {
  override readonly name = "AbortedError"
  constructor(cause: unknown) {
    super("aborted", { cause })
  }
}
