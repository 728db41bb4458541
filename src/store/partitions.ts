import { sql } from "drizzle-orm"
import { type Database, withRetries } from "./connection.ts"
import { DatabaseError, MISSING_PARTITION } from "./errors.ts"

/**
 * Makes the partitions of `signals` for the ids to come, as many as a partition holds and `ids` more; where they are there, it only looks.
 * The size of a partition is that of `signal_partition_rows` in the database.
 *
 * @returns how many were made
 * @throws {DatabaseError} they may be made; call it again
 */
export async function makePartitions(db: Database, ids = 0): Promise<number> {
  const [row] = await db.query<{ made: number }>(sql`select make_signal_partitions(${ids}::int8) as made`)
  return row?.made ?? 0
}

/** Before the next attempt others take ids, too, and a batch that is tried row by row takes its ids twice. */
const WRITES_AHEAD = 8

/**
 * Does work that stores up to `ids` signals, again after each transient error, as `withRetries` does. Where an id has no partition yet,
 * because the cron did not run or the ids were faster, it makes the partition before the next attempt.
 */
export function withPartitions<T>(db: Database, ids: number, work: () => Promise<T>): Promise<T> {
  return withRetries(db, async () => {
    try {
      return await work()
    } catch (error) {
      if (error instanceof DatabaseError && error.reason === MISSING_PARTITION) await makePartitions(db, ids * WRITES_AHEAD)
      throw error
    }
  })
}
