import type { Context } from "hono"
import { matchedRoutes } from "hono/route"
import type { Bindings, Scope, Settings } from "../config.ts"
import type { Database } from "../store/connection.ts"

/** Who sent a request: the name of its key, or "anonymous" where access is open. */
export interface Caller {
  name: string
  scopes: readonly Scope[]
}

/** What the request's log line tells beside route, status and time. Counts only: no key, no body, no address of the database. */
export interface Outcome {
  mode?: "best_effort" | "all_or_nothing" | "single" | "delivery"
  total?: number
  failed?: number
  /** The signal_source that all the signals share, or "mixed". */
  source?: string
  transactionId?: string
  replayed?: boolean
  /** Taken in to be stored later. */
  queued?: boolean
  /** Records acknowledged and not to be stored: how many, and of which kind. */
  skipped?: number
  kind?: string
  /** Why it failed, for the operator: the reason of a fault, the place of an unexpected error. */
  fault?: string
}

export interface App {
  Bindings: Bindings
  Variables: {
    requestId: string
    settings: Settings
    db: Database
    caller: Caller
    /** The decoded bytes of the body, as far as a route has read it. */
    body: Uint8Array
    /** The body as it was sent, where it had to be read to prove the sender. */
    sent: Uint8Array
    outcome: Outcome
  }
}

/** The pattern of the route that a request is for, also when it was refused on the way there. */
export const routeOf = (c: Context<App>): string => matchedRoutes(c).find(({ path }) => !path.includes("*"))?.path ?? "(none)"

/** Adds to what the request's log line will tell. */
export function noteOutcome(c: Context<App>, outcome: Outcome): void {
  c.set("outcome", { ...c.get("outcome"), ...outcome })
}
