import { neon, neonConfig } from "@neondatabase/serverless"
import { type SQL, sql } from "drizzle-orm"
import { PgDialect } from "drizzle-orm/pg-core"
import { StatementGate } from "../../isolate/statement-gate.ts"
import { DatabaseError, databaseErrorOf, ReadTooCostly } from "./errors.ts"

export interface DatabaseSettings {
  /** Neon connection string. */
  url: string
  /** The address of SQL over HTTP, if it is not Neon's own, such as in local development. */
  httpEndpoint?: string | undefined
  /** The deadline of a request's database calls, retries included. */
  deadlineMs: number
  /** The longest time of one statement. Default: the time until the deadline. */
  statementMs?: number | undefined
  /** The most concurrent statements of an isolate, by kind. Default: no limit. */
  inFlight?: Record<Traffic, number> | undefined
}

/** The kinds of statements. Each has its own limit, so that none starves another. */
export type Traffic = "writes" | "reads" | "consumer"

export interface ConnectOptions {
  traffic?: Traffic
  /** Keeps the runtime from ending the request before `work` has ended, also when its caller leaves. */
  keepAlive?: (work: Promise<unknown>) => void
  /** Aborted when the caller disconnects. A statement that still waits for its turn is then not sent. */
  signal?: AbortSignal
  /**
   * Returns whose statements these are, so that no caller's wait behind all of another's. Default: nobody's.
   */
  owner?: () => string | undefined
}

/** The database for one request, with the request's deadline. */
export interface Database {
  /**
   * Sends one statement, which is one transaction and one round trip, of at most `timeoutMs`. Throws
   * `DatabaseError`.
   */
  query<Row>(statement: SQL, options?: { timeoutMs?: number }): Promise<Row[]>
  /** Keeps the runtime from ending the request before `work` has ended, also when its caller leaves. */
  keepAlive(work: Promise<unknown>): void
  readonly traffic: Traffic
  /** Aborted when the caller disconnects. */
  readonly signal?: AbortSignal | undefined
  /** Milliseconds since the epoch. */
  readonly deadlineAt: number
  /** The attempts and the time of this request's statements so far. */
  readonly usage: { attempts: number; ms: number }
}

const dialect = new PgDialect()

/** The longest time that a request waits until its first statement is sent. */
const LONGEST_QUEUE_MS = 2000
/** Waiting statements for each one that may run: about the number that finishes in a second. */
const WAITING_FOR_EACH = 32

/** The gates that all requests of this isolate share, by the kind of traffic and its limit. */
const gates = new Map<string, StatementGate>()

function gateOf(traffic: Traffic, limit: number): StatementGate {
  const name = `${traffic} ${limit}`
  const gate = gates.get(name) ?? new StatementGate({ running: limit, waiting: limit * WAITING_FOR_EACH })
  gates.set(name, gate)
  return gate
}

/** Whether as many statements of this kind wait in the isolate as may wait: one more would be refused. */
export function isLineFull(traffic: Traffic): boolean {
  for (const [name, gate] of gates) if (name.startsWith(`${traffic} `) && gate.isFull) return true
  return false
}

/** Opens no connection: Neon's driver sends each statement as one HTTP request. */
export function connect(settings: DatabaseSettings, options: ConnectOptions = {}): Database {
  const client = neon(settings.url, { fullResults: true })
  const deadlineAt = Date.now() + settings.deadlineMs
  const usage = { attempts: 0, ms: 0 }
  const { traffic = "writes", keepAlive, signal, owner } = options
  const gate = settings.inFlight && gateOf(traffic, settings.inFlight[traffic])
  const statementMs = () => settings.statementMs ?? Math.max(1, deadlineAt - Date.now())

  /** A started request may finish: only its first statement is refused after a short wait. */
  async function enter(): Promise<() => void> {
    if (!gate) return () => {}
    const begun = usage.attempts > 0
    const leftMs = Math.max(0, deadlineAt - Date.now())
    const waitMs = begun ? leftMs : Math.min(LONGEST_QUEUE_MS, leftMs)
    const isWanted = begun ? undefined : signal
    const entry = { waitMs, longestMs: statementMs, ahead: begun, signal: isWanted, owner: owner?.() }
    const leave = await gate.enter(entry)
    if (!leave) throw new DatabaseError("overloaded", `too many ${traffic} in flight`, false)
    return leave
  }

  async function send<Row>(statement: SQL, timeoutMs: number): Promise<Row[]> {
    const { sql, params } = dialect.sqlToQuery(statement)
    const leave = await enter()
    const startedAt = Date.now()
    usage.attempts++
    try {
      const timeout = AbortSignal.timeout(Math.min(statementMs(), timeoutMs))
      // The driver has one endpoint for all connections, and reads it when `then` is called.
      if (settings.httpEndpoint) neonConfig.fetchEndpoint = settings.httpEndpoint
      const sent = client.query(sql, params, { fetchOptions: { signal: timeout } })
      const { rows } = await sent.then((result) => result)
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
    signal,
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
/** With less time, an attempt would probably time out, and turn a certain outcome into one in doubt. */
const SHORTEST_ATTEMPT_MS = 50

/**
 * Retries `work` after each transient error, with full-jitter backoff, until the deadline of `db`. `work`
 * must be safe to repeat: it may have run even when its answer was lost.
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
      if (error.kind !== "transient" || Date.now() + waitMs + SHORTEST_ATTEMPT_MS >= db.deadlineAt)
        throw error.withDoubt(mayHaveRun)
      await new Promise((resolve) => setTimeout(resolve, waitMs))
    }
  }
}

/**
 * The SQLSTATEs of a read that needs too much: query canceled (such as by `statement_timeout`), out of disk,
 * memory or temporary files, program limit exceeded.
 *
 * @see https://www.postgresql.org/docs/18/errcodes-appendix.html
 */
const NEEDS_TOO_MUCH = /^(57014|53100|53200|53400|54...)$/

/**
 * The largest share of the request's deadline for one statement of a read, so that the answer comes before
 * the deadline.
 */
const SHARE_OF_DEADLINE = 0.5
/** The deadline of the check whether the database answers at all. */
const PROBE_MS = 1000

/**
 * Reads rows where the cost depends on the request. Retries transient errors, but not a read that cannot
 * succeed.
 *
 * @param narrowBy the parameters of the request that make the read smaller
 * @throws {ReadTooCostly} the database ended the read, or it takes too long
 * @throws {DatabaseError} the database cannot be reached, or is not ready
 */
export function readRows<Row>(db: Database, statement: SQL, narrowBy: readonly string[]): Promise<Row[]> {
  const timeoutMs = Math.max(1, (db.deadlineAt - Date.now()) * SHARE_OF_DEADLINE)
  return withRetries(db, async () => {
    try {
      return await db.query<Row>(statement, { timeoutMs })
    } catch (error) {
      const why = error instanceof DatabaseError && (await whyTooCostly(db, error, timeoutMs))
      throw why ? new ReadTooCostly(why, narrowBy) : error
    }
  })
}

async function whyTooCostly(
  db: Database,
  { kind, reason }: DatabaseError,
  timeoutMs: number,
): Promise<string | undefined> {
  if (kind === "too_large") return "its result is larger than 64 MB"
  if (NEEDS_TOO_MUCH.test(reason)) return `Postgres ended it (SQLSTATE ${reason})`
  // In an outage no statement gets an answer, and no filter helps.
  if (reason !== "timeout" || !(await answers(db))) return undefined
  return `it takes longer than ${Number((timeoutMs / 1000).toPrecision(2))} seconds`
}

const answers = (db: Database): Promise<boolean> =>
  db.query(sql`select 1`, { timeoutMs: PROBE_MS }).then(
    () => true,
    () => false,
  )

/**
 * Whether the service can store a batch: the database answers, has the tables, lets the role read them, and
 * accepts writes.
 */
export async function canWrite(db: Database): Promise<boolean> {
  const [found] = await withRetries(db, () =>
    db.query<{ writable: boolean }>(sql`
      select current_setting('transaction_read_only') = 'off' and count(*) >= 0 as writable
      from (select from batches limit 1) as readable`),
  )
  return found?.writable ?? false
}

/** A point in time as UTC text with microseconds. */
export const utc = (time: SQL) => sql`to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`

/** The time of the transaction, which is the value of a column with the default `now()`. */
export const NOW = utc(sql`now()`)
