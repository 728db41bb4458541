import { type SQL, sql } from "drizzle-orm"
import { batches } from "../schema.ts"
import type { Search } from "./search.ts"

/** A filter for batches of the ledger. */
export interface BatchFilter {
  /** Only batches with a failed signal. */
  failed?: boolean | undefined
  /** Only batches with a failure of this code. Versions without codes recorded none. */
  failureCode?: string | undefined
}

/**
 * The batches of a page that are tested against a filter without an index. The page ends after them, and its
 * cursor continues.
 */
export const MAX_TRIED = 2000

/**
 * The batches that pass a filter, newest first: at most `limit` and one more. It reads the primary key from
 * its end.
 */
export function searchBatches(
  { failed, failureCode }: BatchFilter,
  after: string | undefined,
  limit: number,
): Search {
  const where = after === undefined ? sql`` : sql`where transaction_id < ${after}::uuid`
  if (!failed && failureCode === undefined)
    return { steps: undefined, rows: sql`select * from ${batches} ${where}`, bounded: false }

  const ofCode =
    failureCode === undefined ? sql`` : sql`and failures @> ${JSON.stringify([{ code: failureCode }])}::jsonb`
  const newest: SQL = sql`order by transaction_id desc`
  // Postgres runs a step only as far as it is read: `tried` ends with the page, unless the page is not full
  // and `reached` continues.
  const steps = sql`
    tried as materialized (
      select transaction_id, failed_count, failures from ${batches} ${where} ${newest} limit ${MAX_TRIED}::int4
    ), found as materialized (
      select transaction_id from tried where failed_count > 0 ${ofCode} ${newest} limit ${limit + 1}::int4
    ), reached as (
      select transaction_id as reached_id
      from (
        select transaction_id from tried where (select count(*) from found) <= ${limit}::int4
        ${newest} limit 1 offset ${MAX_TRIED - 1}::int4
      ) as last
    )`
  const rows = sql`
    select batch.* from found, lateral (select * from ${batches} where transaction_id = found.transaction_id offset 0) as batch`
  return { steps, rows, bounded: true }
}
