import type { Failure } from "./responses.ts"
import type { ShapeError } from "./shape-errors.ts"

/** The meaning of a code, and what its reader can do. The tables of docs/api.md have the same rows. */
interface Code {
  meaning: string
  /** The same request may succeed later. */
  retryable: boolean
  cure: string
}

/**
 * The reasons why one signal or record was not stored, in the order of the docs. A code is never renamed; new
 * ones may be added.
 */
export const FAILURE_CODES = {
  missing_field: {
    meaning: "a required field is absent",
    retryable: false,
    cure: "send the field that `field` names",
  },
  wrong_type: {
    meaning: "a value has another JSON type than its field takes",
    retryable: false,
    cure: "send the type that `error` names",
  },
  invalid_timestamp: {
    meaning: "a text is not an ISO 8601 time",
    retryable: false,
    cure: "send ISO 8601, or a Unix epoch as a number",
  },
  invalid_json: { meaning: "a line of NDJSON is not JSON", retryable: false, cure: "correct the line" },
  out_of_range: {
    meaning: "a number or a time is outside the range of its field",
    retryable: false,
    cure: "correct the value",
  },
  wrong_length: {
    meaning: "a text is shorter or longer than its field takes",
    retryable: false,
    cure: "send as many characters as `error` names",
  },
  blank: { meaning: "a text is only white space", retryable: false, cure: "name the conversation" },
  invalid_text: {
    meaning: "a text holds U+0000 or half of a surrogate pair",
    retryable: false,
    cure: "remove the character",
  },
  too_deep: {
    meaning: "the payload nests deeper than 64 levels",
    retryable: false,
    cure: "flatten the payload",
  },
  number_too_long: {
    meaning: "a number of the payload has too many digits",
    retryable: false,
    cure: "send it as text",
  },
  too_large: {
    meaning: "the signal is larger than the limit",
    retryable: false,
    cure: "keep the content elsewhere, and send a reference",
  },
  too_far_ahead: {
    meaning: "the timestamp is too far ahead of the service's clock",
    retryable: true,
    cure: "check the sender's clock and the unit of the number",
  },
  reserved_dedupe_key: {
    meaning: "only a key with the scope `bridge` may send this dedupe key",
    retryable: false,
    cure: "choose another prefix, or give the key the scope",
  },
  edits_not_followed: {
    meaning: "the signal is a message that was deleted in Slack, and the service does not follow that",
    retryable: false,
    cure: "set `SLACK_FOLLOW_EDITS`, or leave such messages out",
  },
  unreadable_record: {
    meaning: "a webhook's record cannot become a signal",
    retryable: false,
    cure: "correct the sender or the mapping, then replay the dead letter",
  },
  refused_by_database: {
    meaning: "the signal passed every rule, and the database refused it",
    retryable: false,
    cure: "correct the value that `error` names",
  },
  suppressed: {
    meaning: "the signal is about a subject that was erased and must not be stored again",
    retryable: false,
    cure: "stop sending signals about this subject",
  },
  unknown_signal: {
    meaning: "a score names a signal that is not stored: not yet, or not any more",
    retryable: true,
    cure: "send the score again after its signal; drop it when the signal was deleted",
  },
  deleted_signal: {
    meaning: "a score names a signal that was erased, has expired, or was deleted by its source",
    retryable: false,
    cure: "drop the score",
  },
  too_many_waiting: {
    meaning: "as many scores wait for their signals as have room",
    retryable: true,
    cure: "send the signals, or the score after its signal",
  },
  two_signals: {
    meaning: "a score names its signal both by `signal_id` and by `dedupe_key`",
    retryable: false,
    cure: "send one of the two",
  },
  too_many_scores: {
    meaning: "the signal already has as many scores as are kept",
    retryable: false,
    cure: "score it less often",
  },
  unprocessed_message: {
    meaning: "a whole message of the queue could not be stored in any attempt",
    retryable: true,
    cure: "repair the cause, then replay the dead letter",
  },
  unreadable_message: {
    meaning: "no version of the service reads the queue's message",
    retryable: false,
    cure: "look at the record, then discard the dead letter",
  },
} as const satisfies Record<string, Code>
export type FailureCode = keyof typeof FAILURE_CODES

/** The reasons why a whole request failed, with the status of the answer. */
export const PROBLEM_CODES = {
  batch_rejected: {
    status: 400,
    meaning: "a signal broke a rule and `fail_on_error` is set; `errors` lists every such signal",
    retryable: false,
    cure: "correct the signals at these indexes, or send without `fail_on_error`",
  },
  body_cut_off: {
    status: 400,
    meaning: "the connection ended before the body did",
    retryable: true,
    cure: "send it again",
  },
  bad_request: {
    status: 400,
    meaning: "the request cannot be read",
    retryable: false,
    cure: "correct what `detail` names",
  },
  unauthorized: {
    status: 401,
    meaning: "no key, an unknown key, or a wrong signature of a webhook",
    retryable: false,
    cure: "send `Authorization: Bearer KEY`",
  },
  insufficient_scope: {
    status: 403,
    meaning: "the key lacks the scope that `detail` names",
    retryable: false,
    cure: "use another key",
  },
  cross_site: {
    status: 403,
    meaning: "a page of another site called a service that is open to everyone",
    retryable: false,
    cure: "add its origin to `CORS_ORIGINS`",
  },
  not_found: {
    status: 404,
    meaning: "no route at this path, or no signal, batch or dead letter with this id",
    retryable: false,
    cure: "check the path and the id",
  },
  method_not_allowed: {
    status: 405,
    meaning:
      "the path does not have this method, TRACE and OPTIONS included; preflights of an origin in `CORS_ORIGINS` are answered",
    retryable: false,
    cure: "use a method of the header `Allow`",
  },
  body_timeout: {
    status: 408,
    meaning: "the body took too long to arrive",
    retryable: true,
    cure: "send smaller batches",
  },
  key_conflict: {
    status: 409,
    meaning:
      "no API key can be made: its name is taken, or there are too many keys, of this name or in total",
    retryable: false,
    cure: "rotate the key of this name, choose another name, or revoke a key that is not needed",
  },
  too_many_signals: {
    status: 413,
    meaning: "the batch has more signals than the limit",
    retryable: false,
    cure: "split the batch",
  },
  too_many_containers: {
    status: 413,
    meaning:
      "the body has more JSON objects and arrays, or numbers that a double cannot hold, than the limit",
    retryable: false,
    cure: "split the batch",
  },
  body_too_large: {
    status: 413,
    meaning: "the decoded body is larger than the limit",
    retryable: false,
    cure: "split the batch",
  },
  unsupported_media_type: {
    status: 415,
    meaning: "the service does not read this `Content-Type`",
    retryable: false,
    cure: "send one that `detail` names",
  },
  unsupported_encoding: {
    status: 415,
    meaning: "the service does not read this `Content-Encoding`",
    retryable: false,
    cure: "send one that the header `Accept-Encoding` names",
  },
  invalid_request: {
    status: 422,
    meaning:
      'the request is not readable or has the wrong shape: `{"detail": [{"type", "loc", "msg", "input"}]}`, the first 100 errors',
    retryable: false,
    cure: "correct what `loc` names",
  },
  idempotency_key_reused: {
    status: 422,
    meaning: "the `Idempotency-Key` was used for another request",
    retryable: false,
    cure: "use a new key for a new request",
  },
  read_too_costly: {
    status: 422,
    meaning:
      "the database does not finish a read: it takes longer than half of `DATABASE_DEADLINE_MS`, Postgres ended it, or its result is too large",
    retryable: false,
    cure: "narrow it by one of the parameters that `msg` names",
  },
  result_too_large: {
    status: 422,
    meaning: "the result of a read is too large",
    retryable: false,
    cure: "ask for a lower `limit` or a narrower filter",
  },
  payload_too_large: {
    status: 422,
    meaning: "a stored payload is larger as text than the service returns",
    retryable: false,
    cure: "read the signal's other fields from a list",
  },
  rate_limited: {
    status: 429,
    meaning: "over a rate limit",
    retryable: true,
    cure: "wait `Retry-After` seconds",
  },
  internal_error: {
    status: 500,
    meaning: "an error that the service does not know",
    retryable: true,
    cure: "report it with its `X-Request-Id`",
  },
  invariant_violated: {
    status: 500,
    meaning: "the service found its own answer to be wrong, and did not send it",
    retryable: true,
    cure: "report it with its `X-Request-Id`; the ledger has the batch `transaction_id`",
  },
  overloaded: {
    status: 503,
    meaning: "the service has too much to do",
    retryable: true,
    cure: "wait `Retry-After` seconds",
  },
  database_unavailable: {
    status: 503,
    meaning: "the database cannot be reached",
    retryable: true,
    cure: "wait `Retry-After` seconds, then send it again",
  },
  database_not_ready: {
    status: 503,
    meaning: "the database is not ready for this version of the service",
    retryable: true,
    cure: "have the operator read `/readyz` or the log, which name what to repair",
  },
  in_doubt: {
    status: 503,
    meaning: "the batch `transaction_id` was stored whole or not at all, and no answer says which",
    retryable: true,
    cure: "send it again under its `Idempotency-Key`; without a key, ask the ledger as `detail` says",
  },
  key_not_checked: {
    status: 503,
    meaning: "the API key may be valid, but the database that knows cannot be asked right now",
    retryable: true,
    cure: "wait `Retry-After` seconds, then send it again",
  },
  key_in_doubt: {
    status: 503,
    meaning: "no answer says whether an API key was made or revoked, or its end is not known everywhere yet",
    retryable: true,
    cure: "do what `detail` says: list the keys, or revoke it again",
  },
  not_configured: {
    status: 503,
    meaning: "a setting is missing or wrong",
    retryable: true,
    cure: "have the operator read the log",
  },
  metrics_unavailable: {
    status: 503,
    meaning: "the metrics cannot be read",
    retryable: true,
    cure: "wait `Retry-After` seconds",
  },
} as const satisfies Record<string, Code & { status: number }>
export type ProblemCode = keyof typeof PROBLEM_CODES

export const FAILURE_CODE_NAMES = Object.keys(FAILURE_CODES) as FailureCode[]
export const PROBLEM_CODE_NAMES = Object.keys(PROBLEM_CODES) as ProblemCode[]

/** The rule that a signal breaks. */
export interface Violation {
  /** Undefined when the rule is about the signal as a whole. */
  field?: string | undefined
  code: FailureCode
  /** One sentence for the sender. */
  message: string
}

/** A validation error of a single signal, whose `loc` begins with the field. */
export function shapeViolation({ type, loc, msg }: ShapeError): Violation {
  const [field] = loc
  const code =
    type === "missing" ? "missing_field" : type === "datetime_parsing" ? "invalid_timestamp" : "wrong_type"
  if (typeof field !== "string") return { code, message: msg }
  return { field, code, message: `${loc.join(".")}: ${msg}` }
}

/**
 * A signal of the wrong shape in a batch whose other signals may be stored. It is a class, since a signal may
 * have fields of any name.
 */
export class Rejected {
  readonly violation: Violation

  constructor(violation: Violation) {
    this.violation = violation
  }
}

/** The failure of a signal, for the batch's answer and the ledger. */
export const failureAt = (index: number, { field, code, message }: Violation): Failure => ({
  index,
  error: message,
  code,
  ...(field !== undefined && { field }),
  retryable: FAILURE_CODES[code].retryable,
})

/** A failure from the ledger, whose jsonb does not keep the order of an answer's fields. */
export const recordedFailure = ({ index, error, code, field, retryable }: Failure): Failure => ({
  index,
  error,
  code,
  ...(field !== undefined && { field }),
  retryable,
})
