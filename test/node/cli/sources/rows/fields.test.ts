import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { parse } from "csv-parse/sync"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type LocalPostgres, startTemporaryPostgres } from "../../../../../src/local/postgres/postgres.ts"
import { Signal } from "../../../../../src/signals/schema.ts"
import { useFolder } from "../../../../setup/hooks/rig.ts"
import { queryAt } from "../../../../setup/rig.ts"
import { payloadOf, recordsOf } from "./converted.ts"
import { POSTGRES_TYPES, POSTGRES_VALUES } from "./postgres-values.ts"

const TABLES = join(import.meta.dirname, "tables")
const FIELDS = ["raw_content", "signal_score", "escalate_flag", "timestamp"] as const
type Field = (typeof FIELDS)[number]

/** Columns of bytes, of which the payload has the Base64, and of numbers that JSON cannot hold. */
const BYTES = ["binary", "ascii", "fixed", "large_binary", "binary_view", "dictionary_of_bytes"].concat([
  "blob",
  "bytes",
  "empty_bytes",
  "geometry",
  "int128",
  "uint128",
])
const NOT_FINITE = ["nan", "infinity", "real_infinity"]
type Kind = "bytes" | "not finite" | "as in JSON"
const kindOf = (column: string): Kind =>
  BYTES.includes(column) ? "bytes" : NOT_FINITE.includes(column) ? "not finite" : "as in JSON"
/** Texts have no such columns. */
const asInJson = (): Kind => "as in JSON"

const FLAGS: Record<string, number> = { true: 1, t: 1, yes: 1, y: 1, false: 0, f: 0, no: 0, n: 0 }

/**
 * The table of docs/importer.md: what a field gets of a cell that the payload has as `json`; undefined where
 * the row fails.
 */
function expected(field: Field, json: string, kind: Kind): unknown {
  const value = JSON.parse(json)
  if (kind === "not finite") return field === "raw_content" ? value : undefined
  if (kind === "bytes") {
    const bytes = Buffer.from(value, "base64")
    const text = bytes.toString("utf8")
    return Buffer.from(text).equals(bytes) ? expected(field, JSON.stringify(text), "as in JSON") : undefined
  }
  if (typeof value === "string") return ofText(field, value)
  if (typeof value === "number") return field === "raw_content" ? json : value
  if (typeof value === "boolean")
    return field === "raw_content" ? String(value) : field === "timestamp" ? value : Number(value)
  return value
}

function ofText(field: Field, text: string): unknown {
  if (field === "raw_content") return text
  const trimmed = text.trim()
  if (field === "timestamp")
    return /^-?\d+(\.\d*)?$/.test(trimmed) && !/^\d{8}$/.test(trimmed) ? Number(trimmed) : trimmed
  if (field === "escalate_flag" && FLAGS[trimmed.toLowerCase()] !== undefined)
    return FLAGS[trimmed.toLowerCase()]
  return /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(trimmed) ? Number(text) : text
}

/** What the field of a record has; undefined where the row failed. */
const fieldOf = (record: string | undefined, field: Field): unknown => {
  const read = JSON.parse(record ?? "{}")
  return read.error === undefined ? read[field] : undefined
}

/** A field for each column: what came, and what the table says. */
async function compare(
  columns: Record<string, string>,
  read: (column: string, field: Field) => Promise<string | undefined>,
  kind: (column: string) => Kind = kindOf,
): Promise<void> {
  const [came, due]: Record<string, unknown>[] = [{}, {}]
  for (const [column, json] of Object.entries(columns))
    for (const field of FIELDS) {
      const name = `${column} as ${field}`
      Object.assign(came ?? {}, { [name]: fieldOf(await read(column, field), field) ?? "the row fails" })
      Object.assign(due ?? {}, { [name]: expected(field, json, kind(column)) ?? "the row fails" })
    }
  expect(came).toEqual(due)
}

describe("a column of a field", () => {
  const folder = useFolder()

  it.each(["pyarrow", "duckdb", "polars"])("gets the field's value from Parquet of %s", async (program) => {
    const path = join(TABLES, `${program}.parquet`)
    const columns = payloadOf((await recordsOf({ kind: "parquet", path }))[0])
    await compare(columns, async (column, field) => {
      return (await recordsOf({ kind: "parquet", path, map: { [column]: field } }))[0]
    })
  })

  it.each(["pyarrow", "duckdb", "polars"])("gets the field's value from a CSV of %s", async (program) => {
    const path = join(TABLES, "text", `${program}.csv`)
    const [cells = {}] = parse(await readFile(path), { columns: true }) as Record<string, string>[]
    const { context_window_id: _, ...texts } = cells
    const wanted = Object.entries(texts).filter(([, text]) => text !== "")
    const columns = Object.fromEntries(wanted.map(([name, text]) => [name, JSON.stringify(text)]))
    expect(payloadOf((await recordsOf({ kind: "csv", path, delimiter: "," }))[0])).toEqual(columns)
    await compare(
      columns,
      async (column, field) =>
        (await recordsOf({ kind: "csv", path, delimiter: ",", map: { [column]: field } }))[0],
      asInJson,
    )
  })

  it.each(["duckdb", "polars"])("gets the field's value from JSON lines of %s", async (program) => {
    const line = await readFile(join(TABLES, "text", `${program}.jsonl`), "utf8")
    const path = join(folder.path, "in.jsonl")
    await writeFile(path, `{"context_window_id":"a","payload":${line.trim()}}\n`)
    const columns = payloadOf((await recordsOf({ kind: "jsonl", path }))[0])
    // Numbers of JSON are doubles, unless a double would lose a digit.
    const asJson = { medium_decimal: "-19.99" }
    expect(columns).toEqual({ ...payloadOf(`{"payload":${line}}`), ...(program === "duckdb" && asJson) })
    await compare(
      Object.fromEntries(
        Object.entries(columns).filter(([name, json]) => json !== "null" && name !== "context_window_id"),
      ),
      async (column, field) => {
        await writeFile(path, `{"context_window_id":"a","${field}":${columns[column]}}\n`)
        return (await recordsOf({ kind: "jsonl", path }))[0]
      },
      asInJson,
    )
  })

  describe("from a query", () => {
    let postgres: LocalPostgres
    beforeAll(async () => {
      postgres = await startTemporaryPostgres()
      await queryAt(postgres.url, POSTGRES_TYPES)
    })
    afterAll(() => postgres?.stop())

    /** A query for all fields, where none of them fails. */
    const known = new Map<string, Promise<string | undefined>>()

    it("gets the field's value, whatever its type", async () => {
      const columns = Object.fromEntries(
        Object.entries(POSTGRES_VALUES).map(([name, [, json]]) => [name, json]),
      )
      const record = async (column: string, fields: readonly Field[]) => {
        const sql = POSTGRES_VALUES[column]?.[0]
        const query = `select 'c' as context_window_id, ${fields.map((field) => `${sql} as ${field}`).join(", ")}`
        return (await recordsOf({ kind: "sql", from: postgres.url, query }))[0]
      }
      await compare(columns, async (column, field) => {
        const isRefused = FIELDS.some(
          (one) => expected(one, columns[column] ?? "", kindOf(column)) === undefined,
        )
        if (isRefused) return await record(column, [field])
        known.set(column, known.get(column) ?? record(column, FIELDS))
        return await known.get(column)
      })
    })
  })
})

describe("a time that another program has written", () => {
  const INSTANT = "2026-01-02T03:04:05.678901Z"
  const MILLIS = "2026-01-02T03:04:05.678000Z"
  const SECONDS = "2026-01-02T03:04:05.000000Z"
  const DAY = "2026-01-02T00:00:00.000000Z"

  it.each([
    ["pyarrow", { stamp_us: INSTANT, stamp_ns: INSTANT, stamp_local: INSTANT, stamp_zone: INSTANT }],
    ["pyarrow", { stamp_ms: MILLIS, stamp_s: SECONDS, date32: DAY, date64: DAY }],
    ["pyarrow", { before_1970: "1969-12-31T23:59:59.999999Z" }],
    ["duckdb", { stamp: INSTANT, stamptz: INSTANT, stamp_ns: INSTANT, stamptz_ns: INSTANT }],
    ["duckdb", { stamp_s: SECONDS, stamp_ms: MILLIS, date: DAY }],
    ["polars", { datetime: INSTANT, stamp_zone: INSTANT, stamp_ms: MILLIS, date: DAY }],
  ])("is read by the service, from Parquet and CSV: %s %j", async (program, columns) => {
    for (const [column, instant] of Object.entries(columns))
      for (const kind of ["parquet", "csv"] as const) {
        const path = join(TABLES, kind === "csv" ? "text" : "", `${program}.${kind}`)
        const source = { path, map: { [column]: "timestamp" } }
        const request = kind === "csv" ? { kind, delimiter: ",", ...source } : { kind, ...source }
        const [record = "{}"] = await recordsOf(request)
        const { success, data } = Signal.safeParse(JSON.parse(record))
        expect([column, kind, success, data?.timestamp]).toEqual([column, kind, true, instant])
      }
  })
})
