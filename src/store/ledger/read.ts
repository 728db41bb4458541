import { type SQL, sql } from "drizzle-orm"
import { recordedFailure } from "../../signals/failures.ts"
import { type BatchRecord, LISTED_FAILURES } from "../../signals/responses.ts"
import { type Database, readRows, utc, withRetries } from "../database/connection.ts"
import { hasNext, pageStatement, type Search } from "../database/page.ts"
import { batches } from "../database/schema.ts"

const RECORD = sql`
  transaction_id, kind, state, ${utc(sql`created_at`)} as created_at, caller, idempotency_key,
  total_count, total_count - failed_count as successful_count, failed_count, reason,
  case when kind = 'scores' then (
    select coalesce(sum(split_part(run, ':', 2)::int4), 0)::int4
    from unnest(string_to_array(signal_ids, ',')) as run where run like '0:%'
  ) end as waiting_count`

export async function batchRecord(db: Database, transactionId: string): Promise<BatchRecord | undefined> {
  const [record] = await withRetries(db, () =>
    db.query<LedgerRow>(
      sql`select ${RECORD}, failures from ${batches} where transaction_id = ${transactionId}::uuid`,
    ),
  )
  return record && readRecord(record)
}

type LedgerRow = Omit<BatchRecord, "kind" | "waiting_count"> & {
  reason: string | null
  kind: "signals" | "scores"
  waiting_count: number | null
}

/** Only a batch that failed as a whole or duplicates another one has a reason. */
const readRecord = ({
  transaction_id,
  kind,
  reason,
  failures,
  waiting_count,
  ...record
}: LedgerRow): BatchRecord => ({
  transaction_id,
  ...(kind === "scores" && { kind }),
  ...record,
  ...(waiting_count !== null && { waiting_count }),
  failures: failures.map(recordedFailure),
  ...(reason !== null && { reason }),
})

/**
 * One page of the ledger, newest first, each batch with the first of its failures only, and the cursor of the
 * next page. A page also ends by bytes, and with a filter when enough batches were tried: it may then hold
 * fewer than `limit`, or none, and continues.
 *
 * Reads the primary key from its end: transaction ids are UUIDv7, which sort by time.
 */
export async function listBatches(
  db: Database,
  page: BatchFilter & { after?: string | undefined; limit: number },
): Promise<{ batches: BatchRecord[]; next: string | null }> {
  const { after, limit, ...filter } = page
  const statement = pageStatement({
    ...searchBatches(filter, after, limit),
    order: ["transaction_id"],
    limit,
    storedBytes: sql`${LEDGER_BYTES} + pg_column_size(failures)`,
    spelled: sql`jsonb_path_query_array(failures, ${`$[0 to ${LISTED_FAILURES - 1}]`}::jsonpath) as listed_failures`,
    sentBytes: sql`${LEDGER_BYTES} + octet_length(listed_failures::text)`,
    select: sql`${RECORD}, listed_failures as failures`,
  })
  const rows = await readRows<ListedBatch>(db, statement, ["limit"])
  const listed = rows.filter(({ position }) => position !== null)
  const found = listed.map(({ more: _, position: _position, reached_id: _id, ...row }) => readRecord(row))
  const last = hasNext(listed) ? found.at(-1)?.transaction_id : rows[0]?.reached_id
  return { batches: found, next: last ?? null }
}

/** See `ListedRow`. */
type ListedBatch = LedgerRow & { more: boolean; position?: unknown; reached_id?: string | null }

/** The bytes of a ledger row's texts, and an estimate for its other columns, without the failures. */
const LEDGER_BYTES = sql`300 + octet_length(caller) + coalesce(octet_length(idempotency_key), 0) + coalesce(octet_length(reason), 0)`

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
function searchBatches(
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

/**
 * The ids of a batch in the ledger, one for each signal that did not fail, in batch order: runs of
 * consecutive ids as `first:count`, joined by commas. Ids are reserved in batch order, so most batches are
 * one run.
 *
 * 0 is a signal that is known as a duplicate. When a whole batch is one statement, the ledger row is written
 * before its signals: a duplicate then has the id reserved for it, which no signal ever gets, so that it
 * differs from the holder's id.
 *
 * @returns one id for each signal
 */
export function decodeSignalIds(text: string): number[] {
  return decodeRuns(text).flatMap(({ first, size }) =>
    Array.from({ length: size }, (_, position) => (first === 0 ? 0 : first + position)),
  )
}

/** The runs themselves, in batch order. */
export function decodeRuns(text: string): { first: number; size: number }[] {
  if (text === "") return []
  return text.split(",").map((run) => {
    const [first = 0, size = 0] = run.split(":").map(Number)
    return { first, size }
  })
}
