import { type SQL, sql } from "drizzle-orm"

/** A point in time as UTC text with microseconds. */
export const utc = (time: SQL) => sql`to_char(${time} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`

/** The time of the transaction, which is the value of a column with the default `now()`. */
export const NOW = utc(sql`now()`)
