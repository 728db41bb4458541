import { type SQL, sql } from "drizzle-orm"
import { uuidv7 } from "uuidv7"
import type { Subjects } from "../../signals/erasure.ts"
import { FAILURE_CODES, type FailureCode } from "../../signals/failures.ts"
import type { DeadLetterRecord, ListedDeadLetter } from "../../signals/responses.ts"
import { textViolation } from "../../signals/rules.ts"
import type { DeadLetterSource } from "../../signals/sources.ts"
import { type Database, readRows, utc, withRetries } from "../database/connection.ts"
import { hasNext, pageStatement } from "../database/page.ts"
import { deadLetters } from "../database/schema.ts"
import {
  DEAD_LETTER_NOT_SUPPRESSED,
  isSuppressed,
  noneSuppressed,
  orSuppressed,
  type Suppressed,
} from "../lifecycle/suppression.ts"
import { keepTexts } from "./bound-record.ts"

/** An acknowledged record that could not become a signal. */
export interface DeadLetter {
  /** Its batch, and its index in the batch. */
  transactionId: string
  index: number
  source: DeadLetterSource
  caller: string
  /** One sentence. */
  reason: string
  code: FailureCode
  /** The field of the signal that the reason is about, where it is one. */
  field?: string | undefined
  /** JSON text of the delivered record, or its beginning. */
  record: string
  /**
   * Whether it is only the beginning; undefined while its length has not been bounded (see
   * `bound-record.ts`).
   */
  truncated?: boolean | undefined
  /**
   * Its subjects, as far as they are known: those of a record, or of each signal in a whole message. A record
   * is not kept when one of them is suppressed.
   */
  subjects?: Subjects | readonly Subjects[] | undefined
}

/** Bounds a dead letter that is not bounded yet. */
const bounded = (deadLetter: DeadLetter) =>
  deadLetter.truncated === undefined ? keepTexts([deadLetter]) : [deadLetter]

/** Stores dead letters. One that is already stored is not changed. Throws `DatabaseError`. */
export async function insertDeadLetters(db: Database, inserted: readonly DeadLetter[]): Promise<void> {
  if (inserted.length > 0) await withRetries(db, () => db.query(deadLetterInsert(inserted)))
}

/** The subjects of a signal that is in the record of a dead letter, and the batch that it came with. */
export type RecordedRow = Record<"userId" | "agentId" | "contextWindowId", string | null> & {
  transactionId: string
}

/**
 * Stores the dead letters of whole messages, or none of them when a signal in them is about a suppressed
 * subject. One that is already stored is not changed.
 *
 * @param rows the signals in the messages
 * @returns the suppressed ones
 * @throws {DatabaseError} nothing was stored
 */
export async function insertMessageDeadLetters(
  db: Database,
  inserted: readonly DeadLetter[],
  rows: readonly RecordedRow[],
): Promise<Suppressed | undefined> {
  if (inserted.length === 0) return undefined
  const list = (field: keyof RecordedRow) => sql.param(rows.map((row) => row[field]))
  const statement = sql`
    with input as (
      select * from unnest(
        ${list("transactionId")}::uuid[], ${list("userId")}::text[], ${list("agentId")}::text[], ${list("contextWindowId")}::text[]
      ) with ordinality as recorded (transaction_id, user_id, agent_id, context_window_id, position)
    )
    ${deadLetterInsert(inserted, sql`where ${noneSuppressed(sql`array_agg(transaction_id)`)}`)}`
  const result = await orSuppressed(withRetries(db, () => db.query(statement)))
  return isSuppressed(result) ? result : undefined
}

/**
 * The statement that inserts dead letters.
 *
 * @param where a join or a condition that excludes some, by the columns of `dead_letter`
 */
export function deadLetterInsert(inserted: readonly DeadLetter[], where = sql``): SQL {
  const kept = inserted.flatMap(bounded)
  const column = (value: (deadLetter: DeadLetter) => string | number | boolean | null) =>
    sql.param(kept.map(value))
  return sql`
    insert into ${deadLetters} (
      transaction_id, index, source, caller, reason, code, field, record, truncated, replay_transaction_id, subject_hashes
    )
    select
      dead_letter.transaction_id, index, source, caller, reason, code, field, record, truncated, replay_transaction_id, subject_hashes
    from (
      select sent.*, array(
        select distinct subject_hash(named ->> 0, named ->> 1) from jsonb_array_elements(subjects) as named
      ) as subject_hashes
      from unnest(
        ${column(({ transactionId }) => transactionId)}::uuid[], ${column(({ index }) => index)}::int4[],
        ${column(({ source }) => source)}::text[], ${column(({ caller }) => caller)}::text[],
        ${column(({ reason }) => storable(reason))}::text[], ${column(({ code }) => code)}::text[],
        ${column(({ field }) => field ?? null)}::text[], ${column(({ record }) => record)}::text[],
        ${column(({ truncated }) => truncated ?? false)}::bool[], ${column(() => uuidv7())}::uuid[],
        ${column(({ subjects }) => JSON.stringify(namedSubjects(subjects)))}::jsonb[]
      ) as sent (
        transaction_id, index, source, caller, reason, code, field, record, truncated, replay_transaction_id, subjects
      )
    ) as dead_letter
    ${where}
    ${kept.every(({ source }) => source === "queue") ? sql`` : sql`where ${DEAD_LETTER_NOT_SUPPRESSED}`}
    on conflict do nothing`
}

/** Field and subject of each. A text that no signal can have is the subject of no erasure. */
const namedSubjects = (subjects: DeadLetter["subjects"]): [string, string][] =>
  [subjects ?? []]
    .flat()
    .flatMap((named) => Object.entries(named).filter(([, subject]) => textViolation(subject) === undefined))

/** A reason can quote the record; see `textViolation` for characters that Postgres cannot store. */
const storable = (text: string) => text.toWellFormed().replaceAll("\0", "\uFFFD")

const LISTED_COLUMNS = sql`
  id, ${utc(sql`created_at`)} as created_at, state, source, caller, reason, code, field, transaction_id, index, truncated, replay_transaction_id`
const COLUMNS = sql`${LISTED_COLUMNS}, record`

/** A dead letter as a row of the database. */
type Selected<Listed extends ListedDeadLetter> = Omit<Listed, "id" | "code" | "field" | "retryable"> & {
  id: string
  code: FailureCode
  field: string | null
}
type SelectedRow = Selected<DeadLetterRecord>
type ListedRow = Selected<ListedDeadLetter>

const deadLetterOf = <Row extends ListedRow>({ field, ...row }: Row) => ({
  ...row,
  ...(field !== null && { field }),
  // A newer version may have recorded a code that this version does not know.
  retryable: FAILURE_CODES[row.code]?.retryable ?? false,
  id: Number(row.id),
})

/** The bytes of a row's texts, and an estimate for its other columns, without the record. */
const LISTED_BYTES = sql`400 + octet_length(caller) + octet_length(reason)`

/**
 * Reads a page of dead letters without their records, newest first, and the cursor of the next page, which is
 * null on the last. Bytes limit a page too. Either `state` or `transactionId` is given, so that an index
 * finds the rows.
 */
export async function listDeadLetters(
  db: Database,
  page: {
    state: DeadLetterRecord["state"] | undefined
    transactionId?: string | undefined
    after?: number | undefined
    limit: number
  },
): Promise<{ deadLetters: ListedDeadLetter[]; next: number | null }> {
  const { state, transactionId, after, limit } = page
  const ofState = state === undefined ? sql`` : sql`and state = ${state}`
  const ofBatch = transactionId === undefined ? sql`` : sql`and transaction_id = ${transactionId}::uuid`
  const older = after === undefined ? sql`` : sql`and id < ${after}::int8`
  const statement = pageStatement({
    rows: sql`select * from ${deadLetters} where true ${ofState} ${ofBatch} ${older}`,
    order: ["id"],
    limit,
    storedBytes: LISTED_BYTES,
    sentBytes: LISTED_BYTES,
    select: LISTED_COLUMNS,
  })
  const rows = await readRows<ListedRow & { more: boolean }>(db, statement, ["transaction_id", "limit"])
  const listed = rows.map(({ more: _, ...row }) => deadLetterOf(row))
  return { deadLetters: listed, next: hasNext(rows) ? (listed.at(-1)?.id ?? null) : null }
}

export async function deadLetterById(db: Database, id: number): Promise<DeadLetterRecord | undefined> {
  const [row] = await withRetries(db, () =>
    db.query<SelectedRow>(sql`select ${COLUMNS} from ${deadLetters} where id = ${id}::int8`),
  )
  return row && deadLetterOf(row)
}

/** Marks a dead letter as replayed or discarded. A replayed one stays replayed. */
export async function settleDeadLetter(
  db: Database,
  id: number,
  state: "replayed" | "discarded",
): Promise<void> {
  await withRetries(db, () =>
    db.query(sql`update ${deadLetters} set state = ${state} where id = ${id}::int8 and state <> 'replayed'`),
  )
}

/** Deletes a dead letter, whose record must not be kept. */
export async function deleteDeadLetter(db: Database, id: number): Promise<void> {
  await withRetries(db, () => db.query(sql`delete from ${deadLetters} where id = ${id}::int8`))
}

/** Replaces a dead letter's record, unless it has changed. */
export async function rewriteDeadLetter(
  db: Database,
  id: number,
  { from, to }: { from: string; to: string },
): Promise<void> {
  await withRetries(db, () =>
    db.query(sql`update ${deadLetters} set record = ${to} where id = ${id}::int8 and record = ${from}`),
  )
}

/** The dead letters to replay: those with these ids in any state, or those of a state and a source. */
export interface DeadLetterChoice {
  ids?: readonly number[] | undefined
  state: DeadLetterRecord["state"]
  source?: DeadLetterSource | undefined
  after?: number | undefined
  limit: number
}

/** The bytes of records that one call reads. A single record can be larger. */
const MAX_CHOSEN_BYTES = 4 * 1024 * 1024

/**
 * Reads dead letters with their records, oldest first, and the cursor of the next page, which is null on the
 * last. Bytes limit a page too.
 */
export async function chosenDeadLetters(
  db: Database,
  { ids, state, source, after = 0, limit }: DeadLetterChoice,
): Promise<{ deadLetters: DeadLetterRecord[]; next: number | null }> {
  const chosen = ids ? sql`id = any(${sql.param([...ids])}::int8[])` : sql`state = ${state}`
  const ofSource = source ? sql`and source = ${source}` : sql``
  const statement = sql`
    with page as (
      select *, sum(octet_length(record)) over (order by id) as bytes, count(*) over () > ${limit}::int4 as more, row_number() over (order by id) as position
      from (
        select * from ${deadLetters} where ${chosen} ${ofSource} and id > ${after}::int8 order by id limit ${limit + 1}::int4
      ) as candidate
    )
    select ${COLUMNS}, more or exists (select from page where position > 1 and bytes > ${MAX_CHOSEN_BYTES}::int8) as more, bytes
    from page where position <= ${limit}::int4 and (position = 1 or bytes <= ${MAX_CHOSEN_BYTES}::int8)
    order by id`
  const rows = await readRows<SelectedRow & { bytes: string; more: boolean }>(db, statement, [
    "ids",
    "source",
    "limit",
  ])
  const found = rows.map(({ bytes: _, more: __, ...row }) => deadLetterOf(row))
  return { deadLetters: found, next: rows[0]?.more ? (found.at(-1)?.id ?? null) : null }
}

/** Marks several dead letters as replayed. */
export async function settleReplayed(db: Database, ids: readonly number[]): Promise<void> {
  if (ids.length > 0)
    await withRetries(db, () =>
      db.query(
        sql`update ${deadLetters} set state = 'replayed' where id = any(${sql.param([...ids])}::int8[])`,
      ),
    )
}
