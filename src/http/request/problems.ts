import type { Context } from "hono"
import { HTTPException } from "hono/http-exception"
import type { ContentfulStatusCode } from "hono/utils/http-status"
import { ConfigurationError } from "../../config.ts"
import { errorForLog, LoggableError } from "../../errors.ts"
import { slotsOfOneOwner } from "../../isolate/reader-slots.ts"
import { type KeyConflict, MAX_KEYS_OF_NAME, MAX_LIVE_KEYS } from "../../keys/form.ts"
import { MetricsUnavailable } from "../../metrics/analytics.ts"
import { PROBLEM_CODES, type ProblemCode } from "../../signals/failures.ts"
import { MAX_CONTAINERS, MAX_RAW_NUMBERS, TooManyContainers } from "../../signals/json.ts"
import type { Failure } from "../../signals/responses.ts"
import { KEY_LIFETIME_DAYS } from "../../signals/rules.ts"
import { type ShapeError, Unreadable } from "../../signals/shape-errors.ts"
import { BatchInDoubt, BatchRefused, WrongOutcome } from "../../store/batches/batch.ts"
import {
  DatabaseError,
  FeedPositionUnknown,
  IdempotencyKeyReused,
  NameTaken,
  ReadTooCostly,
  TooManySubscriptions,
} from "../../store/database/errors.ts"
import { MAX_SUBSCRIPTIONS } from "../../subscriptions/schema.ts"
import { LEAST_BYTES_A_SECOND, MAX_STREAMS, MAX_WAITING_READERS } from "./bounds.ts"
import { type App, noteOutcome } from "./context.ts"

interface ProblemBody {
  detail: string | ShapeError[]
  [more: string]: unknown
}

/** An error answer. Code throws it where the error is known; only `answerProblem` turns it into HTTP. */
export class Problem extends LoggableError {
  readonly status: ContentfulStatusCode
  readonly body: ProblemBody & { code: ProblemCode }
  readonly headers: Record<string, string>

  constructor(code: ProblemCode, body: ProblemBody, headers: Record<string, string> = {}) {
    super(typeof body.detail === "string" ? body.detail : "the request has the wrong shape")
    this.status = PROBLEM_CODES[code].status
    this.body = { ...body, code }
    this.headers = headers
  }
}

const RETRY_AFTER_SECONDS = 2
const RETRY = { "Retry-After": String(RETRY_AFTER_SECONDS) }

export const invalidShape = (detail: ShapeError[]) => new Problem("invalid_request", { detail })

/** The key is missing or unknown (RFC 6750, section 3). */
export const unauthorized = (detail: string) =>
  new Problem("unauthorized", { detail }, { "WWW-Authenticate": 'Bearer realm="signal-ingest"' })

export const forbidden = (scope: string) =>
  new Problem(
    "insufficient_scope",
    { detail: `This key lacks the scope "${scope}".` },
    { "WWW-Authenticate": `Bearer error="insufficient_scope", scope="${scope}"` },
  )

/** With open access everybody could make keys, which would stay valid when the access is closed. */
export const keyRequired = () =>
  unauthorized(
    "Keys are made, rotated and revoked only with a key of the scope admin, also with open access.",
  )

/** A key that may be valid: an isolate does not know it, and cannot ask. */
export const keyNotChecked = () =>
  new Problem(
    "key_not_checked",
    { detail: "This API key cannot be checked right now. Nothing was stored. Send the request again." },
    RETRY,
  )

const KEY_CONFLICTS: Record<KeyConflict, string> = {
  "name taken": "A key of this name was made before. Rotate it, or choose another name.",
  "too many keys": `${MAX_LIVE_KEYS} keys are valid already. Revoke one that is not needed.`,
  "too many of this name": `${MAX_KEYS_OF_NAME} keys of this name are valid already. Revoke one of them first.`,
}

export const keyConflict = (why: KeyConflict) => new Problem("key_conflict", { detail: KEY_CONFLICTS[why] })

/** The key itself is lost with the answer, so that the record is of no use. */
export const keyMadeInDoubt = () =>
  new Problem(
    "key_in_doubt",
    {
      detail:
        "The database did not say whether the key was made. List the keys: revoke it if it is there, and make or rotate it again.",
    },
    RETRY,
  )

export const keyEndInDoubt = () =>
  new Problem(
    "key_in_doubt",
    { detail: "It is not known everywhere yet that this key has ended. Revoke it again." },
    RETRY,
  )

export const crossSite = () =>
  new Problem("cross_site", {
    detail:
      "This service has open access, so it refuses requests from pages of other sites. Add their origin to CORS_ORIGINS.",
  })

export const notFound = (detail = "Not Found") => new Problem("not_found", { detail })

export const methodNotAllowed = (allowed: string[]) =>
  new Problem(
    "method_not_allowed",
    { detail: `Method Not Allowed. Use ${allowed.join(", ")}.` },
    { Allow: allowed.join(", ") },
  )

/** The body may be incomplete (RFC 9112, section 6.3). */
export const bodyCutOff = () =>
  new Problem("body_cut_off", { detail: "The connection ended before the body did. Nothing was stored." })

export const bodyTimeout = () =>
  new Problem("body_timeout", {
    detail: `The body arrived at less than ${LEAST_BYTES_A_SECOND / 1024} KiB a second. Nothing was stored.`,
  })

export const tooManyContainers = () =>
  new Problem("too_many_containers", {
    detail: `A body may hold at most ${MAX_CONTAINERS} JSON objects and arrays, and ${MAX_RAW_NUMBERS} numbers that a double cannot hold. Nothing was stored.`,
  })

/**
 * More requests at once than an isolate has room for. `retryAfterSeconds` is about how long the requests that
 * wait already take.
 */
export const overloaded = (retryAfterSeconds = 1) =>
  new Problem(
    "overloaded",
    { detail: "Too many requests at once. Nothing was stored. Send it again." },
    { "Retry-After": String(retryAfterSeconds) },
  )

/** Each reader that waits for the feed costs the database a read a second. */
export const tooManyWaiting = () =>
  new Problem(
    "overloaded",
    {
      detail: `At most ${MAX_WAITING_READERS} readers wait for the feed at once, ${slotsOfOneOwner(MAX_WAITING_READERS)} of one caller. Ask without "wait", or try again later.`,
    },
    { "Retry-After": "5" },
  )

export const tooManyStreams = () =>
  new Problem(
    "overloaded",
    {
      detail: `At most ${MAX_STREAMS} readers stream signals at once, ${slotsOfOneOwner(MAX_STREAMS)} of one caller. Read the list by page, or try again later.`,
    },
    { "Retry-After": "5" },
  )

/** The reader cannot continue, since it is unknown which signals it has missed. */
export const feedPositionUnknown = () =>
  invalidShape([
    {
      type: "feed_cursor_unknown",
      loc: ["query", "after"],
      msg:
        "The database has no such position in its feed: it was restored to an earlier time, or the cursor is another service's. " +
        "Begin again without after, or with after=now",
    },
  ])

export const nameTaken = () =>
  invalidShape([
    {
      type: "value_error",
      loc: ["body", "name"],
      msg: "Value error, another subscription has this name. If it is yours, read it and give it a new secret",
    },
  ])

export const tooManySubscriptions = () =>
  invalidShape([
    {
      type: "value_error",
      loc: ["body"],
      msg: `Value error, there are ${MAX_SUBSCRIPTIONS} subscriptions already. Delete one first`,
    },
  ])

/** @param rule why the address is refused, as the end of a sentence */
export const addressRefused = (rule: string) =>
  invalidShape([{ type: "value_error", loc: ["body", "url"], msg: `Value error, the address ${rule}` }])

export const tooManySignals = (limit: number, what: "signals" | "scores" = "signals") =>
  new Problem("too_many_signals", {
    detail: `A batch may hold at most ${limit} ${what} (MAX_SIGNALS). Nothing was stored.`,
  })

export const bodyTooLarge = (limitBytes: number) =>
  new Problem("body_too_large", {
    detail: `A body may hold at most ${limitBytes} bytes, decoded (MAX_BODY_BYTES). Nothing was stored.`,
  })

export const unsupportedMediaType = (given: string) =>
  new Problem("unsupported_media_type", {
    detail: `Content-Type ${given} is not read here. Send application/json or application/x-ndjson.`,
  })

export const unsupportedRecords = (given: string) =>
  new Problem("unsupported_media_type", {
    detail: `Content-Type ${given} is not read here. Send JSON, NDJSON, CloudEvents or application/vnd.kafka.json.v2+json.`,
  })

/** The answer names the accepted codings (RFC 9110, section 15.5.16). */
export const unsupportedEncoding = (given: string, accepted: string) =>
  new Problem(
    "unsupported_encoding",
    { detail: `Content-Encoding ${given} is not read here. Send one of ${accepted}, or none.` },
    { "Accept-Encoding": accepted },
  )

export const damagedBody = (encoding: string, title: string) =>
  invalidShape([{ type: `${encoding}_invalid`, loc: ["body"], msg: `The body is not valid ${title}` }])

export const tooManyRequests = (retryAfterSeconds: number) =>
  new Problem(
    "rate_limited",
    { detail: "Too many requests. Nothing was stored." },
    { "Retry-After": String(retryAfterSeconds) },
  )

export const overDayLimit = (what: string, most: number, retryAfterSeconds: number) =>
  new Problem(
    "rate_limited",
    { detail: `This caller may send ${most} ${what} in a day (UTC), and has. Nothing was stored.` },
    { "Retry-After": String(retryAfterSeconds) },
  )

export const rejectedBatch = (failures: readonly Failure[]) =>
  new Problem("batch_rejected", {
    detail: `Batch failed at index ${failures[0]?.index}: ${failures[0]?.error}. No signals were created.`,
    errors: failures,
  })

/** The answer to every error of a route. Nothing else turns an error into HTTP. */
export function answerProblem(error: Error, c: Context<App>): Response {
  const { status, body, headers } = problemOf(error, SAFE_METHODS.has(c.req.method))
  noteOutcome(c, { code: body.code })
  if (status >= 500) noteOutcome(c, { error: errorForLog(error) })
  if (error instanceof BatchInDoubt) noteOutcome(c, { inDoubt: true, transactionId: error.transactionId })
  return c.json(body, status, headers)
}

/** Requests that change nothing. */
const SAFE_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"])

function problemOf(error: Error, isSafe: boolean): Problem {
  if (error instanceof Problem) return error
  if (error instanceof Unreadable) return invalidShape(error.errors)
  if (error instanceof TooManyContainers) return tooManyContainers()
  if (error instanceof WrongOutcome) return invariantViolated(error)
  if (error instanceof BatchRefused) return rejectedBatch(error.failures)
  if (error instanceof IdempotencyKeyReused) return keyReused()
  if (error instanceof FeedPositionUnknown) return feedPositionUnknown()
  if (error instanceof NameTaken) return nameTaken()
  if (error instanceof TooManySubscriptions) return tooManySubscriptions()
  if (error instanceof BatchInDoubt) return inDoubt(error.transactionId, error)
  if (error instanceof ReadTooCostly) return readTooCostly(error)
  if (error instanceof DatabaseError) return problemOfDatabase(error, isSafe)
  if (error instanceof ConfigurationError)
    return new Problem(
      "not_configured",
      { detail: "The service is not configured; its log says what is missing." },
      RETRY,
    )
  if (error instanceof MetricsUnavailable)
    return new Problem("metrics_unavailable", { detail: error.message }, RETRY)
  if (error instanceof HTTPException) return new Problem("bad_request", { detail: error.message })
  return new Problem("internal_error", { detail: "Internal error" })
}

function problemOfDatabase({ kind, mayHaveRun }: DatabaseError, isSafe: boolean): Problem {
  if (kind === "too_large") return resultTooLarge()
  if (mayHaveRun && !isSafe) return changeInDoubt({ isReady: kind !== "broken" })
  if (kind === "overloaded") return overloaded()
  return kind === "transient" ? unavailable() : databaseNotReady()
}

/** A wrong answer is worse than none: a sender would believe it. The batch is stored all the same. */
const invariantViolated = ({ violation, transactionId }: WrongOutcome) =>
  new Problem("invariant_violated", {
    detail: `The answer was wrong, so that it was not sent: ${violation}. The batch is in the ledger.`,
    transaction_id: transactionId,
  })

export const keyReused = () =>
  new Problem("idempotency_key_reused", {
    detail: [
      {
        type: "idempotency_key_reused",
        loc: ["header", "Idempotency-Key"],
        msg: "This key was sent before with another request",
      },
    ],
  })

/** Not a 503: a retry of the same request would fail too. */
const readTooCostly = ({ message, narrowBy }: ReadTooCostly) =>
  new Problem("read_too_costly", {
    detail: [
      { type: "read_too_costly", loc: ["query"], msg: `${message}. Narrow it by: ${narrowBy.join(", ")}` },
    ],
  })

/** Neon sends at most 64 MB. */
const resultTooLarge = () =>
  new Problem("result_too_large", {
    detail:
      "The result is larger than the database can send (64 MB). Ask for less: a lower limit, a shorter time or a narrower filter.",
  })

/** Former versions stored such payloads: they did not count the digits of numbers like 1e131071. */
export const payloadTooLarge = () =>
  new Problem("payload_too_large", {
    detail:
      "The payload of this signal is larger than 16 MB as text, since numbers in it have very many digits. The lists have its other fields.",
  })

export const unavailable = () =>
  new Problem(
    "database_unavailable",
    { detail: "The database cannot be reached right now. Nothing was stored." },
    RETRY,
  )

/**
 * The database answers, but cannot be used: a migration, credentials or privileges are missing, or it is
 * read-only.
 */
export const databaseNotReady = () =>
  new Problem(
    "database_not_ready",
    { detail: "The database is not ready for this service. Nothing was stored." },
    RETRY,
  )

/** The answer of /readyz, which an operator reads. `cure` says in fixed words what to repair. */
export const notReady = (cure: string) =>
  new Problem("database_not_ready", { detail: `The database is not ready for this service: ${cure}.` }, RETRY)

/**
 * @param underKey whether the request has an Idempotency-Key: the ledger may have the batch under the id of
 *   an earlier request, so only the key finds it
 */
export const inDoubt = (transactionId: string, { underKey = false } = {}) =>
  new Problem(
    "in_doubt",
    {
      detail: `The database cannot be reached right now, and whether the batch was stored is not known; it was stored whole or not at all. ${
        underKey
          ? `Send it again under the same Idempotency-Key within ${KEY_LIFETIME_DAYS} days: it is stored once.`
          : `Ask GET /api/batches/${transactionId} before you send it again. 200: it is stored. 404 twice, the second time five minutes after the first: it is not, and will not be.`
      }`,
      transaction_id: transactionId,
    },
    RETRY,
  )

/**
 * A change other than a batch. It may have been made: its answer was lost, or an earlier part of it is done.
 */
export function changeInDoubt({ isReady = true } = {}): Problem {
  const why = isReady ? "cannot be reached right now" : "is not ready for this service"
  const detail =
    `The database ${why}, and whether the request was carried out is not known. ` +
    "Look whether it was, or send it again if it may be carried out twice."
  return new Problem(isReady ? "database_unavailable" : "database_not_ready", { detail }, RETRY)
}
