import { sql } from "drizzle-orm"
import { type Database, withRetries } from "../database/connection.ts"
import { batches } from "../database/schema.ts"
import { type FeedPosition, OLDEST } from "./feed.ts"

/**
 * A batch has the time at which its transaction began, and its position is that of its first write: batches
 * whose order by the two differs are within the longest statement of each other.
 */
const MARGIN_SECONDS = 120

/**
 * The position before every batch that was stored at or after a time, and before few others. The ledger has
 * no index on its times, but they rise with the positions: a binary search, of at most 64 statements.
 *
 * @param time UTC text
 */
export async function positionAt(db: Database, time: string): Promise<FeedPosition> {
  let [low, high] = [0n, BigInt((await newest(db)) ?? "0")]
  // Every batch up to `low` is older; the first one that is not is at `high` or before, or there is none.
  while (low < high) {
    const middle = (low + high) / 2n
    const next = await firstAfter(db, middle, time)
    if (next === undefined || !next.isOlder) high = middle
    else low = next.xid
  }
  return low === 0n ? OLDEST : lastOf(db, low)
}

/** The position after the last batch of a transaction. */
async function lastOf(db: Database, xid: bigint): Promise<FeedPosition> {
  const [row] = await withRetries(db, () =>
    db.query<{ transaction_id: string }>(
      sql`select transaction_id from ${batches} where xid = ${String(xid)}::xid8 order by transaction_id desc limit 1`,
    ),
  )
  return row ? { xid: String(xid), transactionId: row.transaction_id, id: null } : OLDEST
}

async function newest(db: Database): Promise<string | undefined> {
  const [row] = await withRetries(db, () =>
    db.query<{ xid: string }>(
      sql`select xid::text as xid from ${batches} order by ${batches.xid} desc, transaction_id desc limit 1`,
    ),
  )
  return row?.xid
}

/** The first batch after a transaction, and whether it is older than the time. */
async function firstAfter(
  db: Database,
  xid: bigint,
  time: string,
): Promise<{ xid: bigint; isOlder: boolean } | undefined> {
  const [row] = await withRetries(db, () =>
    db.query<{ xid: string; is_older: boolean }>(sql`
      select xid::text as xid, created_at < ${time}::timestamptz - make_interval(secs => ${MARGIN_SECONDS}::float8) as is_older
      from ${batches} where xid > ${String(xid)}::xid8 order by ${batches.xid}, transaction_id limit 1`),
  )
  return row && { xid: BigInt(row.xid), isOlder: row.is_older }
}
