import pg from "pg"
import Cursor from "pg-cursor"
import { parseJson } from "../../signals/json.ts"
import { UsageError } from "../usage.ts"
import { checkColumns, signalOfRow } from "./columns.ts"
import { unlessTooDeep } from "./jsonl.ts"
import { type Source, SourceError } from "./source.ts"

const ROWS_AT_ONCE = 1000

/** Types of Postgres by their number in pg_type: json and jsonb. */
const JSON_TYPES = new Set([114, 3802])

/**
 * Reads the rows of a query through a server-side cursor, in constant memory and a read-only transaction.
 * Values stay as Postgres writes them, so that no digit and no microsecond is lost. A position is the number
 * of rows before it; it is valid while the query has an ORDER BY and the table does not change.
 */
export function openSql(options: { from: string; query: string; map: Record<string, string> }): Source {
  const rowOptions = { map: options.map, readPayload: (cell: unknown) => cell, hasNulls: true }
  /** The planner's estimate; 0 before the first query. */
  let rowsEstimated = 0
  return {
    share: (position) => (rowsEstimated > 0 ? Math.min(0.99, Number(position) / rowsEstimated) : 0),
    async *records(from) {
      const client = new pg.Client({ connectionString: options.from })
      // The running query throws the same error.
      client.on("error", () => {})
      await client.connect().catch((error) => {
        throw new UsageError(`The database cannot be reached: ${error.message || error.code}. Check --from.`)
      })
      try {
        await client.query(
          "set datestyle = iso; set timezone = 'UTC'; set intervalstyle = iso_8601; begin read only",
        )
        rowsEstimated = await estimateRows(client, options.query)
        const cursor = client.query(
          new Cursor<Record<string, unknown>>(options.query, [], { types: { getTypeParser } as never }),
        )
        let number = 0
        for (;;) {
          const rows = await cursor.read(ROWS_AT_ONCE).catch((error) => {
            if (number === 0) throw new UsageError(`The query failed: ${error.message}. Check --query.`)
            throw new SourceError(`The database ended the query after row ${number}: ${error.message}.`)
          })
          const [first] = rows
          if (first === undefined) return
          if (number === 0) checkColumns("The query", Object.keys(first), options.map)
          for (const row of rows) {
            number++
            if (number <= Number(from ?? 0)) continue
            const record = unlessTooDeep({ place: `row ${number}`, signal: signalOfRow(row, rowOptions) })
            yield { ...record, position: String(number) }
          }
        }
      } finally {
        await client.end().catch(() => {})
      }
    },
  }
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

/**
 * Parses JSON, booleans, and numbers that a double can hold; every other value stays as Postgres writes it.
 */
function getTypeParser(oid: number): (text: string) => unknown {
  if (JSON_TYPES.has(oid)) return parseJson
  if (NUMBER_TYPES.has(oid)) return numberOrText
  if (oid === BOOLEAN) return (text) => text === "t"
  // A timestamp with a zone reads `2026-01-01 00:00:00.000001+00`, which differs from ISO 8601 by the space
  // and the short zone.
  if (TIMESTAMPS.has(oid)) return (text) => text.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00")
  return (text) => text
}

/** JSON has no NaN and no Infinity, and a double cannot hold every digit; such numbers stay text. */
function numberOrText(text: string): number | string {
  const number = Number(text)
  return Number.isFinite(number) && String(number) === text ? number : text
}

/** int2, int4, int8, float4, float8, numeric. */
const NUMBER_TYPES = new Set([21, 23, 20, 700, 701, 1700])
const BOOLEAN = 16
const TIMESTAMPS = new Set([1114, 1184])
