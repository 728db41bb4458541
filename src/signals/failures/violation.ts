import type { Failure } from "../responses.ts"
import type { ShapeError } from "../shape-errors.ts"
import { FAILURE_CODES, type FailureCode } from "./codes.ts"

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

/** The prefix of each sentence of the SQL function `store_signals_one_by_one`, which has no codes. */
const REFUSED = "refused by the database: "

/** A failure in the ledger. Versions without codes recorded only `index` and `error`. */
export type RecordedFailure = Pick<Failure, "index" | "error"> & Partial<Failure>

/**
 * Adds the code to a failure that was recorded without one, or by a newer version with one that this version
 * does not know.
 */
export function withCode({ index, error, code, field }: RecordedFailure): Failure {
  const guessed = error.startsWith(REFUSED) ? "refused_by_database" : "unclassified"
  return failureAt(index, {
    field,
    code: code !== undefined && code in FAILURE_CODES ? code : guessed,
    message: error,
  })
}
