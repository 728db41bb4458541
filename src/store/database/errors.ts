import { NeonDbError } from "@neondatabase/serverless"
import { LoggableError } from "../../errors.ts"

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
export class DatabaseError extends LoggableError {
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
  /** What an operator must repair, in fixed words; undefined when it is unknown, or nothing. */
  readonly cure: string | undefined

  constructor(
    kind: DatabaseErrorKind,
    reason: string,
    mayHaveRun: boolean,
    { detail, cure }: { detail?: string | undefined; cure?: string | undefined } = {},
  ) {
    super(`database error (${kind}): ${reason}${cure === undefined ? "" : `, ${cure}`}`)
    this.kind = kind
    this.reason = reason
    this.mayHaveRun = mayHaveRun
    this.detail = detail
    this.cure = cure
  }

  /** The same error after several attempts, one of which may have run. */
  withDoubt(mayHaveRun: boolean): DatabaseError {
    return mayHaveRun === this.mayHaveRun ? this : new DatabaseError(this.kind, this.reason, mayHaveRun, this)
  }
}

/** A read that the database cannot finish. A retry does not help: the sender must ask for less. */
export class ReadTooCostly extends LoggableError {
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
    return isTimeout(error.sourceError)
      ? new DatabaseError("transient", "timeout", true)
      : new DatabaseError("transient", "unreachable", true, {
          cure: "no connection to the host of DATABASE_URL",
        })
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

/**
 * The proxy's messages for a refusal that no retry changes, and what is wrong, in words without a value. An
 * unknown role and a wrong password have the same message.
 *
 * @see https://github.com/neondatabase/neon/blob/main/proxy/src/auth/mod.rs
 */
const FINAL: [message: RegExp, cure: string][] = [
  [/password authentication failed/i, "the role or the password of DATABASE_URL is wrong"],
  [/missing hostname/i, "DATABASE_URL has no host that Neon knows"],
  [/missing username/i, "DATABASE_URL has no role"],
  [/missing database/i, "DATABASE_URL has no database name"],
  [/missing authentication credentials/i, "DATABASE_URL has no password"],
  [/invalid connection string|incorrect scheme|could not parse/i, "DATABASE_URL is not a connection string"],
  [
    /endpoint cannot be found|endpoint id is not specified/i,
    "Neon has no endpoint of the host of DATABASE_URL",
  ],
  [/endpoint is disabled/i, "the Neon endpoint of DATABASE_URL is disabled"],
  [
    /exceeded the .{1,40} quota|not allowed to connect/i,
    "Neon refuses the project: a quota or its access rules",
  ],
]

/** The proxy's messages for a statement that never reached Postgres. */
const NEVER_SENT =
  /control plane request failed|couldn't connect to compute node|failed to acquire permit|too many connections|connection closed at inconsistent state/i

function errorWithoutSqlState(message: string, seen: string): DatabaseError {
  const cure = FINAL.find(([words]) => words.test(message))?.[1]
  if (cure !== undefined) return new DatabaseError("broken", seen, false, { cure })
  return new DatabaseError("transient", seen, !NEVER_SENT.test(message))
}

/**
 * Errors that were rolled back and can be retried: serialization, deadlock, lock, cancelled, starting up,
 * read-only after a failover.
 */
const ROLLED_BACK = new Set(["40001", "40P01", "55P03", "57014", "57P03", "25006"])

/** What an operator must repair when Postgres reports one of these, in words without a value. */
const CURES: Record<string, string> = {
  "28000": "the role of DATABASE_URL is unknown, or may not log in",
  "28P01": "the role or the password of DATABASE_URL is wrong",
  "3D000": "the database of DATABASE_URL does not exist",
  "42P01": "a table is missing: run npm run db:migrate",
  "42703": "a column is missing: run npm run db:migrate",
  "42883": "a function is missing: run npm run db:migrate",
  "42501": "the role of DATABASE_URL lacks a privilege: grant it signal_ingest_writer",
}

const CHECK_VIOLATION = "23514"

/** Postgres reports a missing partition as a check violation without a constraint. */
const isMissingPartition = (code: string, constraint: string | undefined) =>
  code === CHECK_VIOLATION && !constraint

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
    return new DatabaseError("refused", code, false, { detail })
  return new DatabaseError("broken", code, false, { cure: CURES[code] })
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
    super("the database has no such position in its feed")
  }
}

/** Another subscription has this name: nothing was changed. */
export class NameTaken extends Error {
  constructor() {
    super("another subscription has this name")
  }
}

/** The deployment has its most subscriptions: nothing was created. */
export class TooManySubscriptions extends Error {
  constructor() {
    super("there are as many subscriptions as there may be")
  }
}
