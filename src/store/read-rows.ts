import { type SQL, sql } from "drizzle-orm"
import { type Database, withRetries } from "./connection.ts"
import { DatabaseError } from "./errors.ts"

/** A read that the database does not finish, however often it is sent: its sender has to ask for less. */
export class ReadTooCostly extends Error {
  /** The parameters of the request that make the read smaller. */
  readonly narrowBy: readonly string[]

  constructor(why: string, narrowBy: readonly string[]) {
    super(`The database does not finish this read: ${why}`)
    this.narrowBy = narrowBy
  }
}

/**
 * What Postgres answers to a read that needs too much: query canceled (as by `statement_timeout`), no disk, memory or temporary file left
 * for it, program limit exceeded.
 *
 * @see https://www.postgresql.org/docs/18/errcodes-appendix.html
 */
const NEEDS_TOO_MUCH = /^(57014|53100|53200|53400|54...)$/

/** One statement of a read takes at most this share of the request's deadline, so that the answer comes before it. */
const SHARE_OF_DEADLINE = 0.5
/** How long the database may take to show that it answers at all. */
const PROBE_MS = 1000

/**
 * The rows of a read whose cost depends on the request. Transient errors are retried; a read that cannot succeed is not.
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

async function whyTooCostly(db: Database, { kind, reason }: DatabaseError, timeoutMs: number): Promise<string | undefined> {
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
