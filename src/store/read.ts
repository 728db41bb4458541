import { sql } from "drizzle-orm"
import { type RecordedFailure, withCode } from "../signals/failures/violation.ts"
import {
  type BatchRecord,
  type ConversationStats,
  LISTED_FAILURES,
  type StoredSignal,
} from "../signals/responses.ts"
import { type Database, readRows, withRetries } from "./connection.ts"
import { ReadTooCostly } from "./errors.ts"
import { backfills, batches, signals } from "./schema.ts"
import { type BatchFilter, searchBatches } from "./statement/ledger.ts"
import { hasNext, MAX_PAGE_BYTES, pageStatement } from "./statement/page.ts"
import { payloadText } from "./statement/payload-text.ts"
import { type Cursor, type SignalFilter, searchSignals } from "./statement/search.ts"
import { SELECTED_SIGNAL, SENT_BYTES, STORED_BYTES } from "./statement/signal-sql.ts"
import { utc } from "./statement/sql.ts"
import { MAX_COUNTED, statsStatement } from "./statement/stats.ts"
import { readSignal, type SelectedRow } from "./stored-signal.ts"

/** The parameters that narrow a list by an index. */
const NARROWING = ["context_window_id", "user_id", "signal_source", "since", "until", "limit"]

/**
 * Reads a page of signals, newest first, and the cursor of the next page, which is null on the last. Bytes
 * limit a page too; a payload that is larger than a page is omitted.
 *
 * Reads an index on (time, id), after the conversation or the source if the filter has one, so that a page
 * costs the same at any depth. When other filters leave few signals, a page ends after a bounded number of
 * tested signals: it can have fewer than `limit`, or none.
 */
export async function listSignals(
  db: Database,
  page: SignalPage,
): Promise<{ signals: StoredSignal[]; next: Cursor | null }> {
  const { rows, next } = await listRows(db, page)
  const signals = rows.map(({ more: _, place: _place, reached_time: _time, reached_id: _id, ...row }) =>
    readSignal(row),
  )
  return { signals, next }
}

export type SignalPage = SignalFilter & { after?: Cursor | undefined; limit: number; maxBytes?: number }

/** A page of rows, and the cursor of the next one. */
export interface SignalRows {
  rows: ListedRow[]
  next: Cursor | null
}

/** A page of `listSignals`, with each payload as text. */
export async function listRows(db: Database, page: SignalPage): Promise<SignalRows> {
  const { after, limit, maxBytes, ...filter } = page
  const statement = pageStatement({
    ...searchSignals(filter, after, limit),
    order: ["time", "id"],
    limit,
    maxBytes,
    storedBytes: STORED_BYTES,
    spelled: sql`${payloadText(MAX_PAGE_BYTES)} as payload_text`,
    sentBytes: SENT_BYTES,
    select: SELECTED_SIGNAL,
  })
  const rows = await readRows<ListedRow>(db, statement, NARROWING)
  const found = rows.filter(({ place }) => place !== null)
  const last = hasNext(found) ? found.at(-1) : undefined
  return { rows: found, next: last ? { time: last.time, id: Number(last.id) } : reachedBy(rows) }
}

/**
 * When a page ends after enough tested signals, each row has that position, or a single row without a signal
 * has it.
 */
type ListedRow = SelectedRow & {
  more: boolean
  place?: unknown
  reached_time?: string | null
  reached_id?: string | null
}

function reachedBy([row]: ListedRow[]): Cursor | null {
  return row?.reached_time && row.reached_id ? { time: row.reached_time, id: Number(row.reached_id) } : null
}

/**
 * A payload that is larger as text is not read: an isolate of 128 MB must hold its text, its value and the
 * answer. Such payloads have numbers with few bytes and many digits, such as 1e131071.
 */
const MAX_PAYLOAD_BYTES = 16 * 1024 * 1024

/** Reads a signal. Its payload is omitted when it is larger than 16 MiB as text. */
export async function signalById(db: Database, id: number): Promise<StoredSignal | undefined> {
  const [row] = await withRetries(db, () =>
    db.query<SelectedRow>(sql`
      select ${SELECTED_SIGNAL}
      from (select *, ${payloadText(MAX_PAYLOAD_BYTES)} as payload_text from ${signals} where id = ${id}::int8 offset 0) as signal`),
  )
  return row && readSignal(row)
}

/**
 * Reads count, mean score and newest signal of each conversation since a time, most signals first.
 *
 * @throws {ReadTooCostly} more than `MAX_COUNTED` signals are newer
 */
export async function signalStats(
  db: Database,
  query: { since?: string | undefined; limit: number },
): Promise<ConversationStats[]> {
  const since = query.since === undefined ? sql`now() - interval '1 day'` : sql`${query.since}::timestamptz`
  const rows = await readRows<ConversationStats & { signal_count: string }>(
    db,
    statsStatement(since, query.limit),
    ["since"],
  )
  const [all, ...conversations] = rows
  if (Number(all?.signal_count) > MAX_COUNTED)
    throw new ReadTooCostly(`more than ${MAX_COUNTED} signals are newer than that`, ["since"])
  return conversations.map((row) => ({ ...row, signal_count: Number(row.signal_count) }))
}

const RECORD = sql`
  transaction_id, state, ${utc(sql`created_at`)} as created_at, caller, idempotency_key,
  total_count, total_count - failed_count as successful_count, failed_count, reason`

export async function batchRecord(db: Database, transactionId: string): Promise<BatchRecord | undefined> {
  const [record] = await withRetries(db, () =>
    db.query<LedgerRow>(
      sql`select ${RECORD}, failures from ${batches} where transaction_id = ${transactionId}::uuid`,
    ),
  )
  return record && readRecord(record)
}

type LedgerRow = Omit<BatchRecord, "failures"> & { failures: RecordedFailure[]; reason: string | null }

/** Only a batch that failed as a whole or duplicates another one has a reason. */
const readRecord = ({ reason, failures, ...record }: LedgerRow): BatchRecord => ({
  ...record,
  failures: failures.map(withCode),
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
  const listed = rows.filter(({ place }) => place !== null)
  const found = listed.map(({ more: _, place: _place, reached_id: _id, ...row }) => readRecord(row))
  const last = hasNext(listed) ? found.at(-1)?.transaction_id : rows[0]?.reached_id
  return { batches: found, next: last ?? null }
}

/** See `ListedRow`. */
type ListedBatch = LedgerRow & { more: boolean; place?: unknown; reached_id?: string | null }

/** The bytes of a ledger row's texts, and an estimate for its other columns, without the failures. */
const LEDGER_BYTES = sql`300 + octet_length(caller) + coalesce(octet_length(idempotency_key), 0) + coalesce(octet_length(reason), 0)`

/**
 * Whether the service can store a batch: the database answers, accepts writes, and the table has all
 * dedupe_keys of earlier versions.
 */
export async function canWrite(db: Database): Promise<boolean> {
  const [found] = await withRetries(db, () =>
    db.query<{ writable: boolean }>(sql`
      select current_setting('transaction_read_only') = 'off' and finished_at is not null as writable
      from ${backfills} where name = 'dedupe_keys'`),
  )
  return found?.writable ?? false
}
