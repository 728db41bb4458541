import { NeonDbError } from "@neondatabase/serverless"

/**
 * `overloaded`: as many statements as this isolate may send are under way, so this one was not sent.
 * `transient`: the same statement may succeed when sent again. `refused`: Postgres will never take these values.
 * `too_large`: the result is larger than Neon sends, so the same statement never gets an answer.
 * `broken`: the database is not what this service expects (credentials, migrations, privileges); an operator has to act.
 */
export type DatabaseErrorKind = "overloaded" | "transient" | "refused" | "too_large" | "broken"

/** The reason of an error that says that an id of a new signal has no partition yet: nothing was stored. */
export const MISSING_PARTITION = "missing partition"

/** A statement that failed, or whose answer is lost. The message names no value, no SQL and no address, so that it can be logged. */
export class DatabaseError extends Error {
  readonly kind: DatabaseErrorKind
  /** The SQLSTATE, or the symptom where there is none: "unreachable", "timeout", "answer cut short", "HTTP 502", `MISSING_PARTITION`. */
  readonly reason: string
  /** Whether the statement may have been committed although no answer says so. */
  readonly mayHaveRun: boolean
  /** The DETAIL of the error, which only the service's own SQL fills with something to read. */
  readonly detail: string | undefined

  constructor(kind: DatabaseErrorKind, reason: string, mayHaveRun: boolean, detail?: string) {
    super(`database error (${kind}): ${reason}`)
    this.kind = kind
    this.reason = reason
    this.mayHaveRun = mayHaveRun
    this.detail = detail
  }

  /** This error, as the end of several attempts of which one may have run. */
  withDoubt(mayHaveRun: boolean): DatabaseError {
    return mayHaveRun === this.mayHaveRun ? this : new DatabaseError(this.kind, this.reason, mayHaveRun, this.detail)
  }
}

/**
 * Classifies an error that Neon's driver throws for a statement.
 *
 * The driver wraps what goes wrong before the headers of the answer. Anything else that it throws comes from reading the body: the
 * connection broke or the deadline passed there, or the body is not Neon's JSON, as when a proxy answers in its place. The statement
 * may have run then.
 *
 * The driver fills `code` from an answer with status 400 only; any other status is in the message, and a failed fetch in `sourceError`.
 * Statuses and messages are those of Neon's proxy.
 *
 * @see https://github.com/neondatabase/neon/blob/main/proxy/src/serverless/sql_over_http.rs
 */
export function databaseErrorOf(error: unknown): DatabaseError {
  if (!(error instanceof NeonDbError)) return new DatabaseError("transient", unreadableAnswer(error), true)
  const answered = /^Server error \(HTTP status (\d+)\): ([\s\S]*)$/.exec(error.message)
  if (answered) return errorOfStatus(Number(answered[1]), answered[2] ?? "")
  if (error.sourceError) return new DatabaseError("transient", isTimeout(error.sourceError) ? "timeout" : "unreachable", true)
  if (error.code) return errorOfSqlState(error.code, error)
  return errorWithoutSqlState(error.message, "HTTP 400")
}

const isTimeout = (error: unknown) => error instanceof Error && error.name === "TimeoutError"

function unreadableAnswer(error: unknown): string {
  if (isTimeout(error)) return "timeout"
  return error instanceof SyntaxError ? "answer is not JSON" : "answer cut short"
}

function errorOfStatus(status: number, body: string): DatabaseError {
  const { code, message, constraint } = readBody(body)
  if (code) return errorOfSqlState(code, { constraint })
  if (status === 413) return new DatabaseError("broken", "HTTP 413", false)
  // A statement that is sent alone has committed by then.
  if (status === 507) return new DatabaseError("too_large", "HTTP 507", true)
  return errorWithoutSqlState(message, `HTTP ${status}`)
}

function readBody(body: string): { code: string; message: string; constraint: string } {
  try {
    const { code, message, constraint } = JSON.parse(body) as Record<string, unknown>
    const text = (value: unknown) => (typeof value === "string" ? value : "")
    return { code: text(code), message: text(message), constraint: text(constraint) }
  } catch {
    return { code: "", message: "", constraint: "" }
  }
}

/** The proxy's words for a missing endpoint or a refused login: a retry cannot succeed. */
const FINAL =
  /password authentication failed|invalid connection string|missing (?:hostname|username|database)|endpoint (?:cannot be found|is disabled)|could not parse/i

/** The proxy's words for a statement that never reached Postgres. */
const NEVER_SENT =
  /control plane request failed|couldn't connect to compute node|failed to acquire permit|too many connections|connection closed at inconsistent state/i

function errorWithoutSqlState(message: string, seen: string): DatabaseError {
  if (FINAL.test(message)) return new DatabaseError("broken", seen, false)
  return new DatabaseError("transient", seen, !NEVER_SENT.test(message))
}

/** Rolled back, and worth another try: serialization, deadlock, lock, cancelled, starting up, read-only after a failover. */
const ROLLED_BACK = new Set(["40001", "40P01", "55P03", "57014", "57P03", "25006"])

const CHECK_VIOLATION = "23514"

/** Where a change to partitions that was not finished holds the end of the first one; see `make_signal_partitions`. */
const FIRST_PARTITION = "signals_first_partition"

/** Postgres reports a missing partition as a check violation of no constraint. */
const isMissingPartition = (code: string, constraint: string | undefined) =>
  code === CHECK_VIOLATION && (!constraint || constraint === FIRST_PARTITION)

/** @see https://www.postgresql.org/docs/18/errcodes-appendix.html */
function errorOfSqlState(code: string, { constraint, detail }: { constraint?: string | undefined; detail?: string | undefined }) {
  const sqlClass = code.slice(0, 2)
  if (isMissingPartition(code, constraint)) return new DatabaseError("transient", MISSING_PARTITION, false)
  if (ROLLED_BACK.has(code) || sqlClass === "53") return new DatabaseError("transient", code, false)
  // Connection lost, server stopping, I/O or internal error: a kill during COMMIT may have come after it.
  if (["08", "57", "58", "XX"].includes(sqlClass)) return new DatabaseError("transient", code, true)
  // Data, integrity, check option, program limits, and what a trigger raises.
  if (["22", "23", "44", "54", "P0"].includes(sqlClass)) return new DatabaseError("refused", code, false, detail)
  return new DatabaseError("broken", code, false)
}
