import type { Failure } from "../responses.ts"
import type { ShapeError } from "../shape-errors.ts"
import { FAILURE_CODES, type FailureCode } from "./codes.ts"

/** Why a signal cannot be stored. */
export interface Violation {
  /** Undefined when it is about the signal as a whole. */
  field?: string | undefined
  code: FailureCode
  /** One sentence for the sender. */
  message: string
}

/** A validation error of a single signal, whose `loc` begins with the field. */
export function shapeViolation({ type, loc, msg }: ShapeError): Violation {
  const [field] = loc
  const code = type === "missing" ? "missing_field" : type === "datetime_parsing" ? "invalid_timestamp" : "wrong_type"
  if (typeof field !== "string") return { code, message: msg }
  return { field, code, message: `${loc.join(".")}: ${msg}` }
}

/** A signal of the wrong shape, among others that may be stored. A class, since a signal may have fields of any name. */
export class Rejected {
  readonly violation: Violation

  constructor(violation: Violation) {
    this.violation = violation
  }
}

/** What a batch's answer and the ledger say of a signal that was not stored. */
export const failureAt = (index: number, { field, code, message }: Violation): Failure => ({
  index,
  error: message,
  code,
  ...(field !== undefined && { field }),
  retryable: FAILURE_CODES[code].retryable,
})

/** The beginning of each sentence that the SQL function `store_signals_one_by_one` writes; it knows no codes. */
const REFUSED = "refused by the database: "

/** A failure as it was recorded. Versions without codes left out everything but `index` and `error`. */
export type RecordedFailure = Pick<Failure, "index" | "error"> & Partial<Failure>

/** Adds the code to a failure that was recorded without one. */
export function withCode(recorded: RecordedFailure): Failure {
  const { index, error, code = error.startsWith(REFUSED) ? "refused_by_database" : "unclassified", field } = recorded
  return failureAt(index, { field, code, message: error })
}
