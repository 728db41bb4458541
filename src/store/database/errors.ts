import { NeonDbError } from "@neondatabase/serverless"

/**
 * `overloaded`: the isolate already runs its most statements, so this one was not sent. `transient`: the same
 * statement may succeed later. `refused`: Postgres never accepts these values. `too_large`: the result is
 * larger than Neon sends, so the same statement never gets an answer. `broken`: the database is not ready for
 * this service (credentials, migrations, privileges); an operator must act.
 */
export type DatabaseErrorKind = "overloaded" | "transient" | "refused" | "too_large" | "broken"

/** The reason of an error when the id of a new signal has no partition yet. Nothing was stored. */
export const MISSING_PARTITION = "missing partition"

/**
 * A statement failed, or its answer was lost. The message contains no value, no SQL and no address, so that
 * it can be logged.
 */
export class DatabaseError extends Error {
  readonly kind: DatabaseErrorKind
  /**
   * The SQLSTATE, or the symptom where there is none: "unreachable", "timeout", "answer cut short", "HTTP
   * 502", `MISSING_PARTITION`.
   */
  readonly reason: string
  /** Whether the statement may have committed without an answer. */
  readonly mayHaveRun: boolean
  /** The DETAIL of the error. Only the service's own SQL uses it. */
  readonly detail: string | undefined

  constructor(kind: DatabaseErrorKind, reason: string, mayHaveRun: boolean, detail?: string) {
    super(`database error (${kind}): ${reason}`)
    this.kind = kind
    this.reason = reason
    this.mayHaveRun = mayHaveRun
    this.detail = detail
  }

  /** The same error after several attempts, one of which may have run. */
  withDoubt(mayHaveRun: boolean): DatabaseError {
    return mayHaveRun === this.mayHaveRun
      ? this
      : new DatabaseError(this.kind, this.reason, mayHaveRun, this.detail)
  }
}

/** A read that the database cannot finish. A retry does not help: the sender must ask for less. */
export class ReadTooCostly extends Error {
  /** The parameters of the request that make the read smaller. */
  readonly narrowBy: readonly string[]

  constructor(why: string, narrowBy: readonly string[]) {
    super(`The database does not finish this read: ${why}`)
    this.narrowBy = narrowBy
  }
}

/**
 * Classifies an error of Neon's driver.
 *
 * The driver wraps errors before the headers of the answer. Its other errors come from reading the body: the
 * connection broke, the deadline passed, or the body is not Neon's JSON, such as a proxy's page. In these
 * cases the statement may have run.
 *
 * The driver sets `code` only for an answer with status 400; any other status is in the message, and a failed
 * fetch in `sourceError`. Statuses and messages are those of Neon's proxy.
 *
 * @see https://github.com/neondatabase/neon/blob/main/proxy/src/serverless/sql_over_http.rs
 */
export function databaseErrorOf(error: unknown): DatabaseError {
  if (!(error instanceof NeonDbError)) return new DatabaseError("transient", unreadableAnswer(error), true)
  const answered = /^Server error \(HTTP status (\d+)\): ([\s\S]*)$/.exec(error.message)
  if (answered) return errorOfStatus(Number(answered[1]), answered[2] ?? "")
  if (error.sourceError)
    return new DatabaseError("transient", isTimeout(error.sourceError) ? "timeout" : "unreachable", true)
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
  // A statement without a transaction has committed by then.
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

/** The proxy's messages for a missing endpoint or a refused login: a retry cannot succeed. */
const FINAL =
  /password authentication failed|invalid connection string|missing (?:hostname|username|database)|endpoint (?:cannot be found|is disabled)|could not parse/i

/** The proxy's messages for a statement that never reached Postgres. */
const NEVER_SENT =
  /control plane request failed|couldn't connect to compute node|failed to acquire permit|too many connections|connection closed at inconsistent state/i

function errorWithoutSqlState(message: string, seen: string): DatabaseError {
  if (FINAL.test(message)) return new DatabaseError("broken", seen, false)
  return new DatabaseError("transient", seen, !NEVER_SENT.test(message))
}

/**
 * Errors that were rolled back and can be retried: serialization, deadlock, lock, cancelled, starting up,
 * read-only after a failover.
 */
const ROLLED_BACK = new Set(["40001", "40P01", "55P03", "57014", "57P03", "25006"])

const CHECK_VIOLATION = "23514"

/** The constraint that an unfinished conversion to partitions leaves; see `make_signal_partitions`. */
const FIRST_PARTITION = "signals_first_partition"

/** Postgres reports a missing partition as a check violation without a constraint. */
const isMissingPartition = (code: string, constraint: string | undefined) =>
  code === CHECK_VIOLATION && (!constraint || constraint === FIRST_PARTITION)

/** @see https://www.postgresql.org/docs/18/errcodes-appendix.html */
function errorOfSqlState(
  code: string,
  { constraint, detail }: { constraint?: string | undefined; detail?: string | undefined },
) {
  const sqlClass = code.slice(0, 2)
  if (isMissingPartition(code, constraint)) return new DatabaseError("transient", MISSING_PARTITION, false)
  if (ROLLED_BACK.has(code) || sqlClass === "53") return new DatabaseError("transient", code, false)
  // Connection lost, server stopping, I/O or internal error: the COMMIT may have succeeded before.
  if (["08", "57", "58", "XX"].includes(sqlClass)) return new DatabaseError("transient", code, true)
  // Data, integrity, check option, program limits, and exceptions of triggers.
  if (["22", "23", "44", "54", "P0"].includes(sqlClass))
    return new DatabaseError("refused", code, false, detail)
  return new DatabaseError("broken", code, false)
}

/** The caller used this idempotency key for another request: nothing was stored. */
export class IdempotencyKeyReused extends Error {
  constructor() {
    super("the idempotency key was already used for another request")
  }
}

/**
 * The database does not have this position: it was restored to an earlier time, or the position is another
 * database's.
 */
export class FeedPositionUnknown extends Error {
  constructor() {
    super("the database has no such place in its feed")
  }
}
