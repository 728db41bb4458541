import { neon, neonConfig } from "@neondatabase/serverless"
import type { SQL } from "drizzle-orm"
import { PgDialect } from "drizzle-orm/pg-core"
import { DatabaseError, databaseErrorOf } from "./errors.ts"
import { Gate } from "./gate.ts"

export interface DatabaseSettings {
  /** Neon connection string. */
  url: string
  /** Where SQL over HTTP is answered when that is not Neon's own address, as on a developer's machine. */
  httpEndpoint?: string | undefined
  /** How long one request may keep asking the database, its retries included. */
  deadlineMs: number
  /** How long one statement may take; by default what is left until the deadline. */
  statementMs?: number | undefined
  /** How many statements of an isolate may be under way at once, by kind; no limit without it. */
  inFlight?: Record<Traffic, number> | undefined
}

/** Kinds of statements that each have a limit of their own, so that none starves another. */
export type Traffic = "writes" | "reads" | "consumer"

export interface ConnectOptions {
  traffic?: Traffic
  /** Keeps the runtime from ending the request before `work` has ended, also when its caller leaves. */
  keepAlive?: (work: Promise<unknown>) => void
}

/** The database as one request sees it: made when the request comes in, with the request's deadline. */
export interface Database {
  /** Sends one statement, which is one transaction and one round trip, of at most `timeoutMs`. Throws `DatabaseError`. */
  query<Row>(statement: SQL, options?: { timeoutMs?: number }): Promise<Row[]>
  /** Keeps the runtime from ending the request before `work` has ended, also when its caller leaves. */
  keepAlive(work: Promise<unknown>): void
  readonly traffic: Traffic
  /** Milliseconds since the epoch. */
  readonly deadlineAt: number
  /** What this request has asked of the database so far. */
  readonly usage: { attempts: number; ms: number }
}

const dialect = new PgDialect()

/** How long a request waits for its first statement to be sent. */
const LONGEST_QUEUE_MS = 1000
/** How many may wait for each that may be under way: about what a second gets through. */
const WAITING_FOR_EACH = 32

/** By the kind of traffic and its limit: what all requests of this isolate share. */
const gates = new Map<string, Gate>()

function gateOf(traffic: Traffic, limit: number): Gate {
  const name = `${traffic} ${limit}`
  const gate = gates.get(name) ?? new Gate({ running: limit, waiting: limit * WAITING_FOR_EACH })
  gates.set(name, gate)
  return gate
}

/** Opens nothing: Neon's driver sends each statement as one HTTP request. */
export function connect(settings: DatabaseSettings, options: ConnectOptions = {}): Database {
  if (settings.httpEndpoint) neonConfig.fetchEndpoint = settings.httpEndpoint
  const client = neon(settings.url, { fullResults: true })
  const deadlineAt = Date.now() + settings.deadlineMs
  const usage = { attempts: 0, ms: 0 }
  const { traffic = "writes", keepAlive } = options
  const gate = settings.inFlight && gateOf(traffic, settings.inFlight[traffic])
  const statementMs = () => settings.statementMs ?? Math.max(1, deadlineAt - Date.now())

  /** What a request has begun it may finish: only its first statement is turned away after a short wait. */
  async function enter(): Promise<() => void> {
    if (!gate) return () => {}
    const begun = usage.attempts > 0
    const leftMs = Math.max(0, deadlineAt - Date.now())
    const waitMs = begun ? leftMs : Math.min(LONGEST_QUEUE_MS, leftMs)
    const leave = await gate.enter({ waitMs, longestMs: statementMs, ahead: begun })
    if (!leave) throw new DatabaseError("overloaded", `too many ${traffic} in flight`, false)
    return leave
  }

  async function send<Row>(statement: SQL, timeoutMs: number): Promise<Row[]> {
    const { sql, params } = dialect.sqlToQuery(statement)
    const leave = await enter()
    const startedAt = Date.now()
    usage.attempts++
    try {
      const signal = AbortSignal.timeout(Math.min(statementMs(), timeoutMs))
      const { rows } = await client.query(sql, params, { fetchOptions: { signal } })
      return rows as Row[]
    } catch (error) {
      throw databaseErrorOf(error)
    } finally {
      usage.ms += Date.now() - startedAt
      leave()
    }
  }

  const keep = (work: Promise<unknown>) => keepAlive?.(work.catch(() => {}))

  return {
    traffic,
    deadlineAt,
    usage,
    keepAlive: keep,
    query<Row>(statement: SQL, { timeoutMs = Number.POSITIVE_INFINITY } = {}): Promise<Row[]> {
      const rows = send<Row>(statement, timeoutMs)
      keep(rows)
      return rows
    },
  }
}

const FIRST_WAIT_MS = 50
const LONGEST_WAIT_MS = 1000

/**
 * Does `work` again after each transient fault, with full-jitter backoff, until the deadline of `db` would pass.
 * `work` must be safe to repeat: it may have run although its answer was lost.
 *
 * @see https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export async function withRetries<T>(db: Database, work: () => Promise<T>): Promise<T> {
  let mayHaveRun = false
  for (let attempt = 0; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      mayHaveRun ||= error.mayHaveRun
      const waitMs = Math.random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt)
      if (error.kind !== "transient" || Date.now() + waitMs >= db.deadlineAt) throw error.withDoubt(mayHaveRun)
      await new Promise((resolve) => setTimeout(resolve, waitMs))
    }
  }
}
