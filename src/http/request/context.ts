import type { Context } from "hono"
import { matchedRoutes } from "hono/route"
import type { Bindings } from "../../bindings.ts"
import type { Settings } from "../../config.ts"
import type { Claim } from "../../isolate/byte-budget.ts"
import type { DayLimits } from "../../isolate/day-quota.ts"
import type { Counts, ScoreCounts } from "../../signals/answer.ts"
import type { ProblemCode } from "../../signals/failures.ts"
import type { Scope } from "../../signals/rules.ts"
import type { Database } from "../../store/database/connection.ts"
import type { Span } from "../../trace.ts"

/** The sender of a request: the name of its key, or "anonymous" with open access. */
export interface Caller {
  name: string
  scopes: readonly Scope[]
  /** What the caller may send in a day; undefined: no limit. */
  limits?: DayLimits
}

/**
 * The fields of a request's log line and data point besides route, status and time. Only counts and names: no
 * key, no body.
 */
export interface RequestOutcome {
  mode?: "best_effort" | "all_or_nothing" | "single" | "delivery"
  total?: number
  failed?: number
  /** Signals whose dedupe_key was stored before. */
  duplicates?: number
  /** Of a batch of scores: those that wait for their signals. */
  waiting?: number
  /** The scores that a webhook stored at once, beside its signals. */
  scores?: ScoreCounts
  /** The signal_source that all the signals share, or "mixed". */
  source?: string
  /** Signals that the request adds to the table, by their source. */
  sources?: Counts
  /** Signals that it does not store, by the code of their failure. */
  codes?: Counts
  /** The code of an answer that is an error. */
  code?: ProblemCode
  transactionId?: string
  replayed?: boolean
  /** No answer says whether the batch `transactionId` was stored. */
  inDoubt?: boolean
  /** Accepted, and stored later. */
  queued?: boolean
  /** The number of acknowledged records of a kind that is not stored, and the kind. */
  skipped?: number
  kind?: string
  /** The format of a streamed answer. A later line of the log has its end. */
  stream?: "ndjson" | "csv"
  /** The error for the operator: the message of a known one, or where an unexpected one was thrown. */
  error?: string
}

export interface App {
  Bindings: Bindings
  Variables: {
    requestId: string
    settings: Settings
    db: Database
    caller: Caller
    /** The request's claims on the budgets of bodies: what arrives, and what is worked on. */
    claims: { arriving?: Claim; atWork?: Claim }
    /** The bytes of the decoded body. */
    bodyBytes: number
    /** The body as it was sent; set where a signature had to be verified. */
    sent: Uint8Array
    /** The X-Request-Id of the client, if it is a token. */
    clientRequestId: string
    outcome: RequestOutcome
    /** The span of this request in the sender's trace; unset when the sender has no trace. */
    span: Span
    /** Milliseconds that parsing and validating the body took; undefined where there was none. */
    validationMs: number | undefined
  }
}

/** Whose share of an isolate limits a request. With open access all callers are one, so there is none. */
export const ownerOf = (c: Context<App>): string | undefined => {
  const name = c.get("caller")?.name
  return name === "anonymous" ? undefined : name
}

/** When the requests came that had to wait at the entrance, in milliseconds since the epoch. */
const arrivals = new WeakMap<Request, number>()

/** Notes that a request has come, and waits before there is a context for it. */
export function noteArrival(request: Request): void {
  arrivals.set(request, Date.now())
}

/** When a request came, in milliseconds since the epoch. Ask it before the first wait of a context. */
export const arrivalOf = (c: Context): number => arrivals.get(c.req.raw) ?? Date.now()

/** The pattern of a request's route, even when a middleware refused the request. */
export const routeOf = (c: Context<App>): string =>
  matchedRoutes(c).find(({ path }) => !path.includes("*"))?.path ?? "(none)"

/** Adds fields to the log line and the data point of this request. */
export function noteOutcome(c: Context<App>, outcome: RequestOutcome): void {
  c.set("outcome", { ...c.get("outcome"), ...outcome })
}
