import pg from "pg"
import Cursor from "pg-cursor"
import { parseJson } from "../../signals/json.ts"
import { UsageError } from "../usage.ts"
import { signalOfRow } from "./columns.ts"
import type { Source } from "./source.ts"

const ROWS_AT_ONCE = 1000

/** Types of Postgres by their number in pg_type: json and jsonb. */
const JSON_TYPES = new Set([114, 3802])

/**
 * The rows of a query, through a cursor of the server's, in constant memory and a transaction that can only read. Every value comes as
 * Postgres writes it, so that no digit and no microsecond is lost. A position is the number of rows before, which is sound
 * when the query says ORDER BY and the table does not change.
 */
export function openSql(options: { from: string; query: string; map: Record<string, string> }): Source {
  /** As Postgres' planner reckons; unknown until it is asked. */
  let rowsReckoned = 0
  return {
    share: (position) => (rowsReckoned > 0 ? Math.min(0.99, Number(position) / rowsReckoned) : 0),
    async *records(from) {
      const client = new pg.Client({ connectionString: options.from })
      // Told by the query that is under way.
      client.on("error", () => {})
      await client.connect().catch((error) => {
        throw new UsageError(`The database can't be reached: ${error.message || error.code}`)
      })
      try {
        await client.query("set datestyle = iso; set timezone = 'UTC'; set intervalstyle = iso_8601; begin read only")
        rowsReckoned = await reckonRows(client, options.query)
        const cursor = client.query(new Cursor<Record<string, unknown>>(options.query, [], { types: { getTypeParser } as never }))
        let number = 0
        for (;;) {
          const rows = await cursor.read(ROWS_AT_ONCE).catch((error) => {
            throw new UsageError(`The query fails: ${error.message}`)
          })
          if (rows.length === 0) return
          for (const row of rows) {
            number++
            if (number <= Number(from ?? 0)) continue
            yield { place: `row ${number}`, signal: signalOfRow(row, options.map, (cell) => cell), position: String(number) }
          }
        }
      } finally {
        await client.end().catch(() => {})
      }
    },
  }
}

/** How many rows a query will give, reckoned; 0 when it can't be. */
async function reckonRows(client: pg.Client, query: string): Promise<number> {
  try {
    await client.query("savepoint reckoning")
    const { rows } = await client.query<{ "QUERY PLAN": { Plan: { "Plan Rows": number } }[] }>(`explain (format json) ${query}`)
    return rows[0]?.["QUERY PLAN"][0]?.Plan["Plan Rows"] ?? 0
  } catch {
    // What is wrong with the query is told when it is run.
    await client.query("rollback to savepoint reckoning")
    return 0
  }
}

/** JSON as JSON with all its digits, numbers that a double carries as numbers, all else as Postgres writes it. */
function getTypeParser(oid: number): (text: string) => unknown {
  if (JSON_TYPES.has(oid)) return parseJson
  if (NUMBER_TYPES.has(oid)) return (text) => (String(Number(text)) === text ? Number(text) : text)
  if (oid === BOOLEAN) return (text) => text === "t"
  // A timestamp with a zone reads `2026-01-01 00:00:00.000001+00`, which is ISO 8601 but for the space.
  if (TIMESTAMPS.has(oid)) return (text) => text.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00")
  return (text) => text
}

/** int2, int4, int8, float4, float8, numeric. */
const NUMBER_TYPES = new Set([21, 23, 20, 700, 701, 1700])
const BOOLEAN = 16
const TIMESTAMPS = new Set([1114, 1184])
