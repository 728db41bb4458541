import { neon, neonConfig } from "@neondatabase/serverless"
import type { SQL } from "drizzle-orm"
import { PgDialect } from "drizzle-orm/pg-core"
import { DatabaseError, databaseErrorOf } from "./errors.ts"

export interface DatabaseSettings {
  /** Neon connection string. */
  url: string
  /** Where SQL over HTTP is answered when that is not Neon's own address, as on a developer's machine. */
  httpEndpoint?: string | undefined
  /** How long one request may keep asking the database, its retries included. */
  deadlineMs: number
  /** How long one statement may take; by default what is left until the deadline. */
  statementMs?: number | undefined
}

/** The database as one request sees it: made when the request comes in, with the request's deadline. */
export interface Database {
  /** Sends one statement, which is one transaction and one round trip. Throws `DatabaseError`. */
  query<Row>(statement: SQL): Promise<Row[]>
  /** Milliseconds since the epoch. */
  readonly deadlineAt: number
  /** What this request has asked of the database so far. */
  readonly usage: { attempts: number; ms: number }
}

const dialect = new PgDialect()

/** Opens nothing: Neon's driver sends each statement as one HTTP request. */
export function connect(settings: DatabaseSettings): Database {
  if (settings.httpEndpoint) neonConfig.fetchEndpoint = settings.httpEndpoint
  const client = neon(settings.url, { fullResults: true })
  const deadlineAt = Date.now() + settings.deadlineMs
  const usage = { attempts: 0, ms: 0 }
  return {
    deadlineAt,
    usage,
    async query<Row>(statement: SQL): Promise<Row[]> {
      const { sql, params } = dialect.sqlToQuery(statement)
      const startedAt = Date.now()
      usage.attempts++
      try {
        const signal = AbortSignal.timeout(settings.statementMs ?? Math.max(1, deadlineAt - startedAt))
        const { rows } = await client.query(sql, params, { fetchOptions: { signal } })
        return rows as Row[]
      } catch (error) {
        throw databaseErrorOf(error)
      } finally {
        usage.ms += Date.now() - startedAt
      }
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
