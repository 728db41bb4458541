import { type SQL, sql } from "drizzle-orm"
import { utc } from "./sql.ts"

/** The most signals that one statement counts: about a second. */
export const MAX_COUNTED = 2_000_000

/**
 * Count, mean score and newest signal of each conversation since a time, most signals first. The first row
 * has no conversation and the count of all signals. Above `MAX_COUNTED` the other rows are incomplete or
 * missing.
 */
export const statsStatement = (since: SQL, limit: number): SQL => sql`
  select context_window_id, signal_count, avg_score, ${utc(sql`latest`)} as latest_signal
  from signal_stats(${since}, ${MAX_COUNTED + 1}::int4, ${limit}::int4)
  order by context_window_id is not null, signal_count desc, context_window_id`
