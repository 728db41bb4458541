import { sql } from "drizzle-orm"
import { type Database, withRetries } from "./connection.ts"
import { DatabaseError, MISSING_PARTITION } from "./errors.ts"

/**
 * Creates the partitions of `signals` for the next ids: for as many as a partition holds and `ids` more. Does
 * nothing when they exist. `signal_partition_rows` in the database is the size of a partition.
 *
 * @returns the number of created partitions
 * @throws {DatabaseError} they may be created; a retry is safe
 */
export async function makePartitions(db: Database, ids = 0): Promise<number> {
  const [row] = await db.query<{ made: number }>(sql`select make_signal_partitions(${ids}::int8) as made`)
  return row?.made ?? 0
}

/**
 * Other writes take ids before the next attempt, and a batch that is stored by halves takes its ids twice.
 */
const WRITES_AHEAD = 8

/**
 * Runs work that stores up to `ids` signals, and retries transient errors like `withRetries`. When an id has
 * no partition yet, because the cron did not run or the ids were used up faster, it creates the partition
 * before the next attempt.
 */
export function withPartitions<T>(db: Database, ids: number, work: () => Promise<T>): Promise<T> {
  return withRetries(db, async () => {
    try {
      return await work()
    } catch (error) {
      if (error instanceof DatabaseError && error.reason === MISSING_PARTITION)
        await makePartitions(db, ids * WRITES_AHEAD)
      throw error
    }
  })
}
