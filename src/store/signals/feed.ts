import { type SQL, sql } from "drizzle-orm"
import type { FeedSignal } from "../../signals/responses.ts"
import { type Database, withRetries } from "../database/connection.ts"
import { DatabaseError, FeedPositionUnknown } from "../database/errors.ts"
import { hasNext, MAX_PAGE_BYTES, pageStatement } from "../database/page.ts"
import { batches, signals } from "../database/schema.ts"
import { decodeRuns } from "../ledger/read.ts"
import { payloadText, SELECTED_SIGNAL, SENT_BYTES, STORED_BYTES } from "./read.ts"
import { readSignal, type SelectedRow } from "./stored-signal.ts"

/** A position in the feed: a batch, and the part of it that was read. */
export interface FeedPosition {
  /** The transaction that wrote the batch's ledger row: 64 bits, as digits. */
  xid: string
  transactionId: string
  /** The last id of the batch that was read; null when the whole batch was read. */
  id: number | null
}

/** Before every batch. */
export const OLDEST: FeedPosition = {
  xid: "0",
  transactionId: "00000000-0000-0000-0000-000000000000",
  id: null,
}

const DAY_MS = 24 * 60 * 60 * 1000

/**
 * Whether the ledger must have the batch of a position. A position always belongs to a ledger row, and
 * retention keeps each for `ledgerDays`. The time in a UUIDv7 is not after the row's time.
 */
const mustBeInLedger = ({ transactionId }: FeedPosition, ledgerDays: number): boolean =>
  transactionId !== OLDEST.transactionId && timeOfUuid(transactionId) > Date.now() - ledgerDays * DAY_MS

/** The time in a UUIDv7, in milliseconds since the epoch. */
const timeOfUuid = (uuid: string) => Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16)

/** What to read of the feed. */
export interface FeedQuery {
  after: FeedPosition
  limit: number
  /** How many days retention keeps a ledger row at least. */
  ledgerDays: number
  /** Reads no further than this position. */
  until?: FeedPosition | undefined
  /** Returns only some of the signals that the page looks at. `limit` then counts what it looks at. */
  match?: FeedMatch | undefined
}

/** Which signals of the feed a reader wants, and how much of them at once. */
interface FeedMatch {
  /** A condition on a row of `signals`. */
  where: SQL
  /** The most signals of a page. */
  limit: number
  /** The bytes that end a page, which has at least one signal. */
  maxBytes: number
}

/** The next part of the feed. */
export interface FeedPage {
  /** May be empty although `more` follows. */
  signals: FeedSignal[]
  next: FeedPosition
  /** Whether the feed can be read on at once. */
  more: boolean
  /** How long the oldest stored batch has waited for a transaction that is still open; 0 when none waits. */
  lagSeconds: number
}

/**
 * Ledger rows that one read looks at: about a millisecond. Many may have no signals, such as those of
 * duplicates.
 */
const MAX_BATCHES = 1000

/**
 * The signals after a position, in the order in which their transactions began to write; within a batch in
 * batch order. A signal comes once more for each later batch of scores that has one for it. It ends by rows,
 * by bytes, and by the number of ledger rows.
 *
 * A transaction may commit later than one that began after it, so the feed ends before the oldest one that is
 * still open: what commits from now on comes after every position that was ever given.
 *
 * @throws {FeedPositionUnknown}
 * @throws {DatabaseError}
 * @see https://www.postgresql.org/docs/18/functions-info.html#FUNCTIONS-INFO-SNAPSHOT
 */
export async function readFeed(db: Database, query: FeedQuery): Promise<FeedPage> {
  const { after, limit, until, match } = query
  const ledger = await readLedger(db, query)
  const chosen = nextIds({ after, until }, ledger.rows, limit)
  const { found, cutAt } = await signalsOf(db, chosen, match ?? { limit })
  const cut = cutAt !== undefined || chosen.cut
  return {
    signals: found,
    next: cutAt ?? chosen.next,
    more: cut || ledger.more,
    lagSeconds: ledger.lagSeconds,
  }
}

/** The position after the last batch that the feed has now. */
export async function newestPosition(db: Database): Promise<FeedPosition> {
  const [row] = await withRetries(db, () =>
    db.query<FeedBatch>(sql`
      select xid::text as xid, transaction_id from ${batches} where xid < ${OLDEST_OPEN}
      order by ${batches.xid} desc, transaction_id desc limit 1`),
  )
  return row ? { xid: row.xid, transactionId: row.transaction_id, id: null } : OLDEST
}

const OLDEST_OPEN = sql`pg_snapshot_xmin(pg_current_snapshot())`
const NOT_BEGUN = sql`pg_snapshot_xmax(pg_current_snapshot())`

/** How long the oldest stored batch has waited for a transaction that is still open; 0 when none waits. */
export const FEED_LAG_SECONDS = sql`
  coalesce((
    select greatest(0, extract(epoch from clock_timestamp() - created_at)) from ${batches}
    where xid >= ${OLDEST_OPEN} order by xid, transaction_id limit 1
  ), 0)::float8`

interface LedgerAnswer {
  is_ahead: boolean
  is_foreign: boolean
  lag_seconds: number
  /** Null when there are no rows: the rest of the row is null, too. */
  xid: string | null
  more: boolean | null
}

/**
 * The ledger rows from a position on, its own first, until they may have `limit` signals after the position's
 * batch.
 */
async function readLedger(
  db: Database,
  { after, limit, ledgerDays, until }: FeedQuery,
): Promise<{ rows: FeedBatch[]; more: boolean; lagSeconds: number }> {
  const isBefore = until
    ? sql`and (xid, transaction_id) <= (${until.xid}::xid8, ${until.transactionId}::uuid)`
    : sql``
  const answer = await withRetries(db, () =>
    db.query<LedgerAnswer & FeedBatch>(sql`
      with candidate as (
        select
          xid, transaction_id, signal_ids, kind,
          case when (xid, transaction_id) > (${after.xid}::xid8, ${after.transactionId}::uuid) then total_count - failed_count else 0 end as size
        from ${batches}
        where (xid, transaction_id) >= (${after.xid}::xid8, ${after.transactionId}::uuid) and xid < ${OLDEST_OPEN} ${isBefore}
        order by ${batches.xid}, transaction_id limit ${MAX_BATCHES + 1}::int4
      ), numbered as (
        select *, sum(size) over batch as signals, row_number() over batch as position, lead(true) over batch is not null as more
        from candidate window batch as (order by xid, transaction_id)
      ), chosen as (
        select * from numbered where signals - size < ${limit}::int4 and position <= ${MAX_BATCHES}::int4
      )
      select
        ${after.xid}::xid8 >= ${NOT_BEGUN} as is_ahead,
        -- A visible row's transaction began before this snapshot, unless it is another server's.
        exists (select from ${batches} where xid >= ${NOT_BEGUN}) as is_foreign,
        ${FEED_LAG_SECONDS} as lag_seconds,
        xid::text as xid, transaction_id, signal_ids, kind, more
      from (values (true)) as always left join chosen on true
      order by chosen.xid, transaction_id`),
  )
  const [first] = answer
  if (first?.is_foreign)
    throw new DatabaseError("broken", "the ledger has transactions of another server", false)
  const rows = answer.filter(({ xid }) => xid !== null)
  const isThere = first?.xid === after.xid && first.transaction_id === after.transactionId
  if (first?.is_ahead || (!isThere && mustBeInLedger(after, ledgerDays))) throw new FeedPositionUnknown()
  return { rows, more: answer.at(-1)?.more ?? false, lagSeconds: first?.lag_seconds ?? 0 }
}

/** `feed_position`: the place of the signal among the ids that were asked for, from 1. */
type FeedRow = SelectedRow & { more: boolean; feed_position: number; is_score: boolean }

/** The signals with these ids, and the position after them where the page ends before the last one. */
async function signalsOf(
  db: Database,
  { ids, batches: batchOfId }: FeedIds,
  { where, limit, maxBytes }: Partial<FeedMatch> & { limit: number },
): Promise<{ found: FeedSignal[]; cutAt: FeedPosition | undefined }> {
  if (ids.length === 0) return { found: [], cutAt: undefined }
  const list = sql.param(ids)
  const statement = pageStatement({
    // By the list itself, too, so that the planner leaves out partitions.
    rows: sql`
      select ${signals}.*, feed_position, is_score
      from unnest(
        ${list}::int8[], ${sql.param(batchOfId.map((row) => row.transaction_id))}::uuid[],
        ${sql.param(batchOfId.map((row) => row.kind === "scores"))}::bool[]
      ) with ordinality as wanted (wanted_id, batch, is_score, feed_position)
      join ${signals} on id = wanted_id and (is_score or ${signals.transactionId} = batch)
      where id = any(${list}::int8[])${where ? sql` and ${where}` : sql``}`,
    order: ["feed_position"],
    ascending: true,
    limit,
    maxBytes,
    storedBytes: STORED_BYTES,
    spelled: sql`${payloadText(MAX_PAGE_BYTES)} as payload_text`,
    sentBytes: SENT_BYTES,
    select: sql`${SELECTED_SIGNAL}, feed_position::int4 as feed_position, is_score`,
  })
  const rows = await withRetries(db, () => db.query<FeedRow>(statement))
  const found = rows.map(({ more: _, feed_position: __, is_score, ...row }) => ({
    ...readSignal(row),
    ...(is_score && { change: "score" as const }),
  }))
  // By its place in the page: an id can be in the ranges of several batches whose ids interleave.
  const place = hasNext(rows) ? rows.at(-1)?.feed_position : undefined
  const batch = place === undefined ? undefined : batchOfId[place - 1]
  const id = place === undefined ? undefined : ids[place - 1]
  return {
    found,
    cutAt:
      batch && id !== undefined ? { xid: batch.xid, transactionId: batch.transaction_id, id } : undefined,
  }
}

/** The ids of a batch's signals in its ledger row. */
interface FeedBatch {
  xid: string
  transaction_id: string
  signal_ids: string
  kind: "signals" | "scores"
}

/** The signals to read, in feed order, and the position after them. */
interface FeedIds {
  ids: number[]
  /** The batch of each id. */
  batches: FeedBatch[]
  next: FeedPosition
  /** Whether the last batch has more ids. */
  cut: boolean
}

/**
 * Returns the next ids after a position, at most `limit`. Some may have no signal: duplicates, erased and
 * expired signals.
 *
 * @param range the position, up to whose id the ids of the first batch are left out; and the last position
 */
function nextIds(
  { after, until }: { after: FeedPosition; until?: FeedPosition | undefined },
  rows: readonly FeedBatch[],
  limit: number,
): FeedIds {
  const found: FeedIds = { ids: [], batches: [], next: after, cut: false }
  for (const row of rows) {
    const isCurrent = row.xid === after.xid && row.transaction_id === after.transactionId
    const position = { xid: row.xid, transactionId: row.transaction_id }
    const behind = isCurrent ? (after.id ?? Number.POSITIVE_INFINITY) : 0
    const isLast = row.xid === until?.xid && row.transaction_id === until.transactionId
    const end = (isLast && until.id) || Number.POSITIVE_INFINITY
    for (const { first, last: lastOfRange } of rangesOf(row)) {
      const from = Math.max(first, behind + 1)
      const last = Math.min(lastOfRange, end)
      const room = limit - found.ids.length
      for (let id = from; id <= Math.min(last, from + room - 1); id++) {
        found.ids.push(id)
        found.batches.push(row)
      }
      if (last >= from + room) return { ...found, next: { ...position, id: from + room - 1 }, cut: true }
    }
    found.next = { ...position, id: isLast ? until.id : null }
  }
  return found
}

/**
 * Ranges of ids in ascending order. In a batch of signals that is batch order, and a run of duplicates has
 * none. Scores name signals in any order, and one several times; those that were stored before name none.
 */
function rangesOf({ signal_ids, kind }: FeedBatch): { first: number; last: number }[] {
  const ranges = decodeRuns(signal_ids)
    .filter(({ first }) => first > 0)
    .map(({ first, size }) => ({ first, last: first + size - 1 }))
  if (kind === "signals") return ranges
  ranges.sort((a, b) => a.first - b.first)
  let read = 0
  return ranges.flatMap(({ first, last }) => {
    const from = Math.max(first, read + 1)
    read = Math.max(read, last)
    return from <= last ? [{ first: from, last }] : []
  })
}
