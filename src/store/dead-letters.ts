import { type SQL, sql } from "drizzle-orm"
import { uuidv7 } from "uuidv7"
import type { DeadLetterRecord } from "../signals/responses.ts"
import { type Database, withRetries } from "./connection.ts"
import { deadLetters } from "./schema.ts"
import { utc } from "./statement/sql.ts"

/** Where a dead letter came in, which says how its record is read again. `queue`: a whole message that could not be worked off. */
export type LetterSource = (typeof deadLetters.source.enumValues)[number]

/** A record that was acknowledged and can't be stored as a signal. */
export interface DeadLetter {
  /** The batch it came in, and its place there. */
  transactionId: string
  index: number
  source: LetterSource
  caller: string
  /** One sentence. */
  reason: string
  /** JSON text of what was delivered. */
  record: string
}

/** Keeps dead letters; one that is kept already stays as it is. Throws `DatabaseError`. */
export async function insertDeadLetters(db: Database, letters: readonly DeadLetter[]): Promise<void> {
  if (letters.length > 0) await withRetries(db, () => db.query(insertLetters(letters)))
}

/** @param where leaves letters out, by the columns of `letter` */
export function insertLetters(letters: readonly DeadLetter[], where = sql``): SQL {
  const column = (value: (letter: DeadLetter) => string | number) => sql.param(letters.map(value))
  return sql`
    insert into ${deadLetters} (transaction_id, index, source, caller, reason, record, replay_transaction_id)
    select letter.* from unnest(
      ${column(({ transactionId }) => transactionId)}::uuid[], ${column(({ index }) => index)}::int4[],
      ${column(({ source }) => source)}::text[], ${column(({ caller }) => caller)}::text[],
      ${column(({ reason }) => storable(reason))}::text[], ${column(({ record }) => record)}::text[], ${column(() => uuidv7())}::uuid[]
    ) as letter (transaction_id, index, source, caller, reason, record, replay_transaction_id)
    ${where}
    on conflict do nothing`
}

/** A reason may quote what was sent; see `textFault` for what Postgres' text can't hold. */
const storable = (text: string) => text.toWellFormed().replaceAll("\0", "\uFFFD")

const COLUMNS = sql`
  id, ${utc(sql`created_at`)} as created_at, state, source, caller, reason, transaction_id, index, record, replay_transaction_id`

type SelectedRow = Omit<DeadLetterRecord, "id"> & { id: string }

const letterOf = (row: SelectedRow): DeadLetterRecord => ({ ...row, id: Number(row.id) })

/** One page of dead letters in a state, newest first, and the cursor of the next page, null on the last. */
export async function listDeadLetters(
  db: Database,
  page: { state: DeadLetterRecord["state"]; after?: number | undefined; limit: number },
): Promise<{ letters: DeadLetterRecord[]; next: number | null }> {
  const { state, after, limit } = page
  const older = after === undefined ? sql`` : sql`and id < ${after}::int8`
  const rows = await withRetries(db, () =>
    db.query<SelectedRow>(
      sql`select ${COLUMNS} from ${deadLetters} where state = ${state} ${older} order by id desc limit ${limit + 1}::int4`,
    ),
  )
  const letters = rows.slice(0, limit).map(letterOf)
  return { letters, next: rows.length > limit ? (letters.at(-1)?.id ?? null) : null }
}

export async function deadLetterById(db: Database, id: number): Promise<DeadLetterRecord | undefined> {
  const [row] = await withRetries(db, () =>
    db.query<SelectedRow>(sql`select ${COLUMNS} from ${deadLetters} where id = ${id}::int8`),
  )
  return row && letterOf(row)
}

/** Notes what was done with a dead letter. One that was replayed stays so. */
export async function settleDeadLetter(db: Database, id: number, state: "replayed" | "discarded"): Promise<void> {
  await withRetries(db, () =>
    db.query(sql`update ${deadLetters} set state = ${state} where id = ${id}::int8 and state <> 'replayed'`),
  )
}

/** Which dead letters to replay: those with these ids whatever their state, or those of a state and a source. */
export interface LetterChoice {
  ids?: readonly number[] | undefined
  state: DeadLetterRecord["state"]
  source?: LetterSource | undefined
  after?: number | undefined
  limit: number
}

/** What one call reads of records; a single one may be larger. */
const MAX_RECORD_BYTES = 4 * 1024 * 1024

/** Dead letters with their records, oldest first, and the cursor of the next page, null on the last. A page also ends by bytes. */
export async function chosenDeadLetters(
  db: Database,
  { ids, state, source, after = 0, limit }: LetterChoice,
): Promise<{ letters: DeadLetterRecord[]; next: number | null }> {
  const chosen = ids ? sql`id = any(${sql.param([...ids])}::int8[])` : sql`state = ${state}`
  const ofSource = source ? sql`and source = ${source}` : sql``
  const rows = await withRetries(db, () =>
    db.query<SelectedRow & { bytes: string; more: boolean }>(sql`
      with page as (
        select *, sum(octet_length(record)) over (order by id) as bytes, count(*) over () > ${limit}::int4 as more, row_number() over (order by id) as place
        from (
          select * from ${deadLetters} where ${chosen} ${ofSource} and id > ${after}::int8 order by id limit ${limit + 1}::int4
        ) as candidate
      )
      select ${COLUMNS}, more or exists (select from page where place > 1 and bytes > ${MAX_RECORD_BYTES}::int8) as more, bytes
      from page where place <= ${limit}::int4 and (place = 1 or bytes <= ${MAX_RECORD_BYTES}::int8)
      order by id`),
  )
  const letters = rows.map(({ bytes: _, more: __, ...row }) => letterOf(row))
  return { letters, next: rows[0]?.more ? (letters.at(-1)?.id ?? null) : null }
}

/** Notes of several dead letters that they were replayed. */
export async function settleReplayed(db: Database, ids: readonly number[]): Promise<void> {
  if (ids.length > 0)
    await withRetries(db, () =>
      db.query(sql`update ${deadLetters} set state = 'replayed' where id = any(${sql.param([...ids])}::int8[])`),
    )
}
