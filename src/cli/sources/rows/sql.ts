import pg from "pg"
import Cursor from "pg-cursor"
import { parse as parseArray } from "postgres-array"
import { parseJson } from "../../../signals/json.ts"
import { UsageError } from "../../terminal/errors.ts"
import { type Source, SourceError } from "../reading/source.ts"
import { openRows, type RowReader } from "./columns.ts"
import { type Cell, elementOf, exactNumber, type Imported } from "./convert.ts"

const ROWS_AT_ONCE = 1000

/** Reads a value that Postgres has written as text. */
type Parser = (text: string) => Cell

/**
 * Reads the rows of a query through a server-side cursor, in constant memory and a read-only transaction. No
 * digit and no microsecond is lost. A position is the number of rows before it.
 */
export function openSql(options: {
  from: string
  query: string
  map: Record<string, string>
  imported?: Imported | undefined
}): Source {
  /** The planner's estimate; 0 before the first query. */
  let rowsEstimated = 0
  let table: RowReader | undefined
  return {
    share: (position) => (rowsEstimated > 0 ? Math.min(0.99, Number(position) / rowsEstimated) : 0),
    payloadColumns: () => table?.payloadColumns ?? [],
    async *records() {
      const client = new pg.Client({ connectionString: options.from })
      // The running query throws the same error.
      client.on("error", () => {})
      await client.connect().catch((error) => {
        throw new UsageError(`The database cannot be reached: ${error.message || error.code}. Check --from.`)
      })
      let isDone = false
      try {
        await client.query(
          "set datestyle = iso; set timezone = 'UTC'; set intervalstyle = iso_8601; set bytea_output = hex; set extra_float_digits = 1; begin read only",
        )
        const getTypeParser = await readTypes(client)
        rowsEstimated = await estimateRows(client, options.query)
        // As arrays: an object has only one of two columns with one name.
        const cursor = client.query(
          new Cursor<Cell[]>(options.query, [], { rowMode: "array", types: { getTypeParser } as never }),
        )
        let number = 0
        let names: string[] = []
        for (;;) {
          const { rows, fields } = await readRows(cursor, number)
          if (fields) names = fields.map(({ name }) => name)
          table ??= openRows("The query", names, {
            map: options.map,
            hasNulls: true,
            imported: options.imported,
          })
          isDone = rows.length === 0
          if (isDone) return
          for (const cells of rows) {
            number++
            const row = Object.fromEntries(names.map((name, index) => [name, cells[index]]))
            yield { ...table.read(row, `row ${number}`), position: String(number) }
          }
        }
      } finally {
        // `end` would wait without end for a query that is still open.
        if (isDone) await client.end().catch(() => {})
        else client.connection.stream.destroy()
      }
    },
  }
}

/** Reads some rows. The columns come with the first answer, also of a query without rows. */
function readRows(
  cursor: Cursor<Cell[]>,
  number: number,
): Promise<{ rows: Cell[][]; fields: pg.FieldDef[] | undefined }> {
  return new Promise((resolve, reject) => {
    cursor.read(ROWS_AT_ONCE, (error: Error | undefined, rows: Cell[][], result?: pg.QueryResult) => {
      if (!error) resolve({ rows, fields: result?.fields })
      else if (number === 0)
        reject(new UsageError(`The query failed: ${error.message.replace(/\.$/, "")}. Check --query.`))
      else reject(new SourceError(`The database ended the query after row ${number}: ${error.message}.`))
    })
  })
}

/** Estimates the rows of a query; 0 when the database has no estimate. */
async function estimateRows(client: pg.Client, query: string): Promise<number> {
  try {
    await client.query("savepoint estimate")
    const { rows } = await client.query<{ "QUERY PLAN": { Plan: { "Plan Rows": number } }[] }>(
      `explain (format json) ${query}`,
    )
    return rows[0]?.["QUERY PLAN"][0]?.Plan["Plan Rows"] ?? 0
  } catch {
    // The query itself reports the error when it runs.
    await client.query("rollback to savepoint estimate")
    return 0
  }
}

/** A finite number keeps all its digits. NaN and Infinity are numbers that JSON does not have. */
const numberOf = (text: string): Cell => (/^-?\d/.test(text) ? exactNumber(text) : Number(text))

/**
 * A timestamp as ISO 8601 with six digits, in UTC where it has a zone. "infinity" and years before Christ
 * stay as they are.
 */
function timestampOf(text: string): string {
  const [, date, time, fraction = "", zone] =
    /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d+))?(\+00)?$/.exec(text) ?? []
  return date === undefined ? text : `${date}T${time}.${fraction.padEnd(6, "0")}${zone ? "Z" : ""}`
}

const bytesOf = (text: string): Cell => Buffer.from(text.slice(2), "hex")

/** Any other type, such as text, uuid, interval, an enum or a range: as Postgres writes it. */
const textual = (text: string): Cell => text

/** How types are read, by their number in pg_type. */
const TYPES: readonly (readonly [(text: string) => Cell, ...number[]])[] = [
  [(text) => text === "t", 16],
  [bytesOf, 17],
  // int2, int4, int8, oid, float4, float8, numeric
  [numberOf, 21, 23, 20, 26, 700, 701, 1700],
  // json, jsonb
  [parseJson, 114, 3802],
  // timestamp, timestamptz
  [timestampOf, 1114, 1184],
]

const PARSERS = new Map<number, Parser>(
  TYPES.flatMap(([parse, ...oids]) => oids.map((oid): [number, Parser] => [oid, parse])),
)

/** An array as a list of what its elements are; int2vector and its like are written without braces. */
const arrayOf =
  (parse: Parser): Parser =>
  (text) =>
    /^[{[]/.test(text) ? parseArray(text, (element) => elementOf(parse(element))) : text

/** How the types of a database are read, with the arrays of each of its types. */
async function readTypes(client: pg.Client): Promise<(oid: number) => Parser> {
  // A box contains commas, so that its arrays have another separator.
  const { rows } = await client.query<{ oid: string; element: string }>(
    `select arrays.oid::int8 as oid, coalesce(nullif(elements.typbasetype, 0), elements.oid)::int8 as element
     from pg_type arrays join pg_type elements on elements.oid = arrays.typelem
     where arrays.typcategory = 'A' and elements.typdelim = ','`,
  )
  const elements = new Map(rows.map(({ oid, element }) => [Number(oid), Number(element)]))
  return (oid) => {
    const element = elements.get(oid)
    return element === undefined ? (PARSERS.get(oid) ?? textual) : arrayOf(PARSERS.get(element) ?? textual)
  }
}
