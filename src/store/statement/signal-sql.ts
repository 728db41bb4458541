import { type SQL, sql } from "drizzle-orm"
import { SIGNAL_COLUMNS, type SignalColumn } from "./signal-columns.ts"
import { utc } from "./sql.ts"

/** The values that every row has in a column, as one text. `form` says how: see `arrayOf`. */
export interface Column {
  form: "literal" | "lines" | "joined"
  text: string
}

/** One parameter of a write for each column. */
export type Columns = Record<(typeof SIGNAL_COLUMNS)[number]["field"], Column>

/**
 * Between two texts of the form `joined`, and in place of null: characters that few texts hold, and that JSON
 * does not escape.
 */
export const JOINED_BY = "\u007f"
export const JOINED_NULL = "\u0080"

/** The separator and the text that means null, as arguments of `string_to_array`. */
const SPLIT = { lines: sql`E'\\n', ''`, joined: sql`E'\\u007f', E'\\u0080'` }

const list = (columns: readonly string[]) => sql.raw(columns.join(", "))

const NAMES = SIGNAL_COLUMNS.map(({ column }) => column)

/** The names of the columns, for `insert` and `select`. */
export const SIGNAL_NAMES = list(NAMES)

/** The columns as arguments of `unnest`, each parameter with its type. */
export const typedColumns = (columns: Columns) =>
  eachColumn(({ field, type }) => arrayOf(columns[field], type))

/** The columns as arrays of text, for a function that reads each value by itself. */
export const textColumns = (columns: Columns) => eachColumn(({ field }) => arrayOf(columns[field], "text"))

const eachColumn = (item: (column: (typeof SIGNAL_COLUMNS)[number]) => SQL) =>
  sql.join(SIGNAL_COLUMNS.map(item), sql`, `)

/** A column as an array of Postgres. */
export function arrayOf({ form, text }: Column, type: SignalColumn["type"]): SQL {
  const cast = sql.raw(`::${type}[]`)
  if (form === "literal") return sql`${text}${cast}`
  const texts = sql`string_to_array(${text}, ${SPLIT[form]})`
  return type === "text" ? texts : sql`${texts}${cast}`
}

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
