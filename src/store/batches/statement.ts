import { type SQL, sql } from "drizzle-orm"
import type { SignalRow } from "../../signals/schema.ts"
import { SIGNAL_COLUMNS, type SignalColumn, type SignalField } from "../../signals/schema.ts"
import { dedupeKeys } from "../database/schema.ts"

/**
 * The rows of a batch as columns, each one text, so that a batch of any size has the same few parameters.
 *
 * Numbers and times are a Postgres array literal. Texts are joined by a character. A literal would quote each
 * text, and the JSON of Neon's protocol would escape each quote, which takes 45 % more time. A column without
 * any value is the empty array, which `unnest` pads with nulls.
 *
 * @see https://www.postgresql.org/docs/18/arrays.html#ARRAYS-IO
 */
export function encodeColumns(rows: readonly SignalRow[]): Columns {
  const columns = SIGNAL_COLUMNS.map(({ field, type }) => [field, encode(rows, field, type)])
  return Object.fromEntries(columns) as Columns
}

function encode(rows: readonly SignalRow[], field: SignalField, type: SignalColumn["type"]): Column {
  if (type === "jsonb") return { form: "lines", text: lines(rows, field) }
  if (type === "text")
    return joined(rows, field) ?? { form: "literal", text: literal(rows, (row) => quoted(row[field])) }
  return { form: "literal", text: literal(rows, (row) => row[field]) }
}

/** JSON text holds no line break, and is never empty. */
const lines = (rows: readonly SignalRow[], field: SignalField): string =>
  rows.some((row) => row[field] !== "") ? rows.map((row) => row[field]).join("\n") : ""

/** Undefined where the texts cannot be separated again in this form. */
function joined(rows: readonly SignalRow[], field: SignalField): Column | undefined {
  let hasValue = false
  const texts: string[] = []
  for (const { [field]: value } of rows) {
    const text = value === null ? JOINED_NULL : String(value)
    if (value !== null) {
      hasValue = true
      if (text === JOINED_NULL || text.includes(JOINED_BY)) return undefined
    }
    texts.push(text)
  }
  const text = texts.join(JOINED_BY)
  // Postgres reads the empty text as an array without any element, not as one empty element.
  return hasValue && text !== "" ? { form: "joined", text } : undefined
}

function literal(rows: readonly SignalRow[], element: (row: SignalRow) => string | number | null): string {
  let hasValue = false
  const elements = rows.map((row) => {
    const value = element(row)
    hasValue ||= value !== null
    return value ?? "NULL"
  })
  return hasValue ? `{${elements.join(",")}}` : "{}"
}

/**
 * Few texts hold anything to escape, and looking first is faster than a replacement that replaces nothing.
 */
function quoted(value: string | number | null): string | null {
  if (value === null) return null
  const text = String(value)
  return `"${text.includes('"') || text.includes("\\") ? escaped(text) : text}"`
}

/** V8 keeps every match of one `replace` until it ends: 4 million of them take more than a Worker has. */
const ESCAPED_AT_ONCE = 65_536

function escaped(text: string): string {
  let result = ""
  for (let start = 0; start < text.length; start += ESCAPED_AT_ONCE)
    result += text.slice(start, start + ESCAPED_AT_ONCE).replace(/["\\]/g, "\\$&")
  return result
}

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
const JOINED_BY = "\u007f"
const JOINED_NULL = "\u0080"

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

/**
 * The part of a write that stores only the first signal of each dedupe_key: it inserts each key with the id
 * reserved for its signal, and waits for another write that holds the key. A key stays in the table forever,
 * even when its signal is deleted. A deletion takes its key without a signal.
 *
 * Keys are locked in their own order, like in the SQL functions, so that there is no deadlock between writes
 * that share keys.
 *
 * @param rows the rows of `input` that may be written
 * @param deletions the positions of the deletions in `input`, from 1
 */
export const takenKeys = (rows: SQL, deletions: readonly number[]): SQL => sql`
    taken as (
      insert into ${dedupeKeys} (key_hash, signal_id)
      select dedupe_key_hash(dedupe_key), ${idOfKey(deletions)}
      from ${rows} where dedupe_key is not null order by dedupe_key, position
      on conflict do nothing
      returning signal_id
    )`

const idOfKey = (deletions: readonly number[]): SQL =>
  deletions.length === 0
    ? sql`id`
    : sql`case when position = any(${sql.param([...deletions])}::int8[]) then nextval('signals_id_seq') else id end`

/** A condition beside `takenKeys`: the rows whose key is new. */
export const WITH_KEY_TAKEN = sql`where dedupe_key is null or id in (select signal_id from taken)`

/** The signal that holds the key of each row that was not stored, after all rows were tried. */
export const HELD_KEYS = sql`
    held as materialized (
      select unnest(keys) as dedupe_key, unnest(signal_ids_of_keys(keys)) as holder
      from (
        select array_agg(distinct dedupe_key) as keys from input left join stored using (id)
        where stored.id is null and dedupe_key is not null
      ) as unstored
    )`

/** The outcome of a row beside `HELD_KEYS`; see `insertedOf`. */
export const OUTCOME = sql`coalesce(stored.id::text, '=' || holder, '=')`
