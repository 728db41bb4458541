import type { Context } from "hono"
import { matchedRoutes } from "hono/route"
import type { Bindings, Settings } from "../config.ts"
import type { ProblemCode } from "../signals/failures/codes.ts"
import type { Scope } from "../signals/scopes.ts"
import type { Tally } from "../signals/tally.ts"
import type { Database } from "../store/connection.ts"
import type { Span } from "../trace/context.ts"
import type { Claim } from "./body/budget.ts"

/** Who sent a request: the name of its key, or "anonymous" where access is open. */
export interface Caller {
  name: string
  scopes: readonly Scope[]
}

/** What the log line and the data point of a request say beside route, status and time. Counts and names only: no key, no body. */
export interface RequestOutcome {
  mode?: "best_effort" | "all_or_nothing" | "single" | "delivery"
  total?: number
  failed?: number
  /** Signals whose dedupe_key was stored before. */
  duplicates?: number
  /** The signal_source that all the signals share, or "mixed". */
  source?: string
  /** Signals that the request adds to the table, by their source. */
  sources?: Tally
  /** Signals that it does not store, by the code of their failure. */
  codes?: Tally
  /** The code of an answer that is an error. */
  code?: ProblemCode
  transactionId?: string
  replayed?: boolean
  /** No answer says whether the batch `transactionId` was stored. */
  inDoubt?: boolean
  /** Accepted, and stored later. */
  queued?: boolean
  /** Records that were acknowledged and are of a kind that is not stored: how many, and which kind. */
  skipped?: number
  kind?: string
  /** The answer is a stream of lines; a line of the log says when it ended. */
  stream?: "ndjson" | "csv"
  /** Why it failed, for the operator: the reason of a known error, the place of an unexpected one. */
  error?: string
}

export interface App {
  Bindings: Bindings
  Variables: {
    requestId: string
    settings: Settings
    db: Database
    caller: Caller
    /** What the request holds of the budget of bodies. */
    claim: Claim
    /** How many bytes the body has, decoded. */
    bodyBytes: number
    /** The body as it was sent, where it had to be read to prove the sender. */
    sent: Uint8Array
    /** The X-Request-Id that the client sent, where it is a token. */
    clientRequestId: string
    outcome: RequestOutcome
    /** What this request is in the trace of its sender; unset when the sender names none. */
    span: Span
    /** Milliseconds that the body took to be read and judged; undefined where nothing was. */
    validationMs: number | undefined
  }
}

/** The pattern of the route that a request is for, also when it was refused on the way there. */
export const routeOf = (c: Context<App>): string => matchedRoutes(c).find(({ path }) => !path.includes("*"))?.path ?? "(none)"

/** Adds to what the log line and the data point of this request say. */
export function noteOutcome(c: Context<App>, outcome: RequestOutcome): void {
  c.set("outcome", { ...c.get("outcome"), ...outcome })
}
