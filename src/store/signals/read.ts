import { type SQL, sql } from "drizzle-orm"
import type { ConversationStats, StoredScore, StoredSignal } from "../../signals/responses.ts"
import { SIGNAL_COLUMNS } from "../../signals/schema.ts"
import { type Database, readRows, utc, withRetries } from "../database/connection.ts"
import { ReadTooCostly } from "../database/errors.ts"
import { hasNext, MAX_PAGE_BYTES, pageStatement } from "../database/page.ts"
import { signals } from "../database/schema.ts"
import { signalScores } from "../database/score-tables.ts"
import { type Cursor, type SignalFilter, searchSignals } from "./search.ts"
import { readSignal, type SelectedRow } from "./stored-signal.ts"

const list = (columns: readonly string[]) => sql.raw(columns.join(", "))

/** What a read selects, from rows that have `payload_text`. */
export const SELECTED_SIGNAL = sql`id, ${utc(sql`time`)} as time, ${utc(sql`received_at`)} as received_at, ${utc(sql`edited_at`)} as edited_at, transaction_id, ${list(
  SIGNAL_COLUMNS.filter(({ column }) => column !== "time").map(({ column, type }) =>
    type === "jsonb" ? `${column}_text as ${column}` : column,
  ),
)}, payload is not null and payload_text is null as payload_omitted`

/** The bytes of a row's texts, and about those of everything else but its payload. */
const TEXT_BYTES = list([
  [
    "300",
    ...SIGNAL_COLUMNS.filter(({ type }) => type === "text").map(
      ({ column }) => `coalesce(octet_length(${column}), 0)`,
    ),
  ].join(" + "),
])

export const STORED_BYTES = sql`${TEXT_BYTES} + coalesce(pg_column_size(payload), 0)`
export const SENT_BYTES = sql`${TEXT_BYTES} + coalesce(octet_length(payload_text), 0)`

/** The stored bytes, uncompressed, up to which a payload has at most 22 MB as text. */
const SMALL_BYTES = 2048

/**
 * Numbers that Postgres prints with more than 400 digits, and every 0, which can have up to 16,383 digits
 * after its point.
 */
const LONG_NUMBERS = "strict $.** ? (@ >= 1e400 || @ <= -1e400 || (@ > -1e-400 && @ < 1e-400))"

/**
 * The payload as text, since the driver's JSON parser would lose digits; null when it is longer than
 * `maxBytes`.
 *
 * Postgres prints each digit: the 8 bytes of 1e131071 become 131,072. A few such numbers need gigabytes
 * before the text could be measured, so a payload that may have many is measured by its numbers.
 */
export const payloadText = (maxBytes: number): SQL => sql`(
  select case when octet_length(text) <= ${maxBytes}::int4 then text end
  from (
    select case
      when pg_column_compression(payload) is null and pg_column_size(payload) <= ${SMALL_BYTES}::int4 then payload::text
      when (
        select coalesce(sum(case when abs(number) < 1e400 then 0 when abs(number) < 1e4000 then 4000 else 131072 end + scale(number)), 0)
        -- Not jsonb_path_query: its cost is quadratic.
        from jsonb_array_elements(jsonb_path_query_array(payload, ${sql.raw(`'${LONG_NUMBERS}'`)})) as element,
          lateral (select element::numeric) as long (number)
      ) <= ${maxBytes}::int4 then payload::text
    end as text
    offset 0
  ) as spelled
)`

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
  const signals = rows.map(({ more: _, position: _position, reached_time: _time, reached_id: _id, ...row }) =>
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
  const found = rows.filter(({ position }) => position !== null)
  const last = hasNext(found) ? found.at(-1) : undefined
  return { rows: found, next: last ? { time: last.time, id: Number(last.id) } : reachedBy(rows) }
}

/**
 * When a page ends after enough tested signals, each row has that position, or a single row without a signal
 * has it.
 */
type ListedRow = SelectedRow & {
  more: boolean
  position?: unknown
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

/** The scores that came after a signal, newest first: as many as are kept. */
export const scoresOf = (db: Database, id: number): Promise<StoredScore[]> =>
  withRetries(db, () =>
    db.query<StoredScore>(sql`
      select
        signal_score, emotional_tone, escalate_flag, ${utc(sql`scored_at`)} as scored_at, scorer,
        ${utc(sql`received_at`)} as received_at, transaction_id
      from ${signalScores} where signal_id = ${id}::int8
      order by ${signalScores.scoredAt} desc, scorer collate "C" desc nulls last, ${signalScores.receivedAt} desc`),
  )

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

/** The most signals that one statement counts: about a second. */
const MAX_COUNTED = 2_000_000

/**
 * Count, mean score and newest signal of each conversation since a time, most signals first. The first row
 * has no conversation and the count of all signals. Above `MAX_COUNTED` the other rows are incomplete or
 * missing.
 */
const statsStatement = (since: SQL, limit: number): SQL => sql`
  select context_window_id, signal_count, avg_score, ${utc(sql`latest`)} as latest_signal
  from signal_stats(${since}, ${MAX_COUNTED + 1}::int4, ${limit}::int4)
  order by context_window_id is not null, signal_count desc, context_window_id`
