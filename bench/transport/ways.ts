import { createRequire } from "node:module"
import type { SignalRow } from "../../src/signals/schema.ts"
import { encodeColumns } from "../../src/store/statement/columns.ts"
import { SIGNAL_COLUMNS, type SignalField } from "../../src/store/statement/signal-columns.ts"

/**
 * A way to send rows to Postgres: the client's parameters, and the FROM item that turns them into columns,
 * `position` last.
 */
export interface Way {
  name: string
  params(rows: readonly SignalRow[]): (string | null)[]
  /** The parameters are $1, $2, ...; only a text that grows with the batch uses `rows`. */
  source(rows: readonly SignalRow[]): string
  /** Postgres allows at most 65,535 parameters. */
  maxRows?: number
}

type Field = SignalField

/** The columns and their types, in the order of the parameters of every way. */
export const FIELDS = SIGNAL_COLUMNS.map(({ field, column, type }) => [field, column, type] as const)

const names = FIELDS.map(([, column]) => column).join(", ")
const types = FIELDS.map(([, column, type]) => `${column} ${type}`).join(", ")

/** `item(n, type)` for each column, $n being its parameter. */
const each = (item: (parameter: string, type: string) => string) =>
  FIELDS.map(([, , type], i) => item(`$${i + 1}`, type)).join(", ")

const unnested = (items: string) => `unnest(${items}) with ordinality as signal (${names}, position)`

const { prepareValue } = createRequire(import.meta.url)("pg/lib/utils") as {
  prepareValue(value: unknown): string
}

export const WAYS: readonly Way[] = [
  {
    name: "unnest, joined texts, payload as lines (the store)",
    params: (rows) => Object.values(encodeColumns(rows)).map(({ text }) => text),
    // A column without any value is an empty literal.
    source: (rows) => {
      const columns = encodeColumns(rows)
      return unnested(
        FIELDS.map(([field, , type], i) => {
          const parameter = `$${i + 1}`
          if (columns[field].form === "literal") return `${parameter}::${type}[]`
          const split = columns[field].form === "lines" ? "E'\\n', ''" : "E'\\u007f', E'\\u0080'"
          return `string_to_array(${parameter}, ${split})::${type}[]`
        }).join(", "),
      )
    },
  },
  {
    name: "unnest, literals; payload as lines",
    params: (rows) =>
      FIELDS.map(([field, , type]) => {
        if (field === "payload") return rows.map((row) => row.payload).join("\n")
        return hasValue(rows, field) ? literal(rows, field, type) : "{}"
      }),
    source: () =>
      unnested(
        each((p, type) =>
          type === "jsonb" ? `string_to_array(${p}, E'\\n', '')::jsonb[]` : `${p}::${type}[]`,
        ),
      ),
  },
  {
    name: "unnest, literals; payload as literal too",
    params: (rows) =>
      FIELDS.map(([field, , type]) => (hasValue(rows, field) ? literal(rows, field, type) : "{}")),
    source: () => unnested(each((p, type) => `${p}::${type}[]`)),
  },
  {
    name: "unnest, literals; every null written out",
    params: (rows) => FIELDS.map(([field, , type]) => literal(rows, field, type)),
    source: () => unnested(each((p, type) => `${p}::${type}[]`)),
  },
  {
    name: "unnest, numbers; texts as JSON arrays",
    params: (rows) =>
      FIELDS.map(([field, , type]) => {
        if (field === "payload") return rows.map((row) => row.payload).join("\n")
        if (!hasValue(rows, field)) return type === "text" ? "[]" : "{}"
        return type === "text" ? JSON.stringify(rows.map((row) => row[field])) : literal(rows, field, type)
      }),
    source: () =>
      `rows from (${each((p, type) => {
        if (type === "jsonb") return `unnest(string_to_array(${p}, E'\\n', '')::jsonb[])`
        return type === "text" ? `jsonb_array_elements_text(${p}::jsonb)` : `unnest(${p}::${type}[])`
      })}) with ordinality as signal (${names}, position)`,
  },
  {
    name: "unnest, arrays encoded by the driver",
    params: (rows) =>
      FIELDS.map(([field]) => prepareValue(rows.map((row) => (row[field] === "" ? null : row[field])))),
    source: () => unnested(each((p, type) => `${p}::${type}[]`)),
  },
  {
    name: "jsonb_to_recordset",
    params: (rows) => [recordset(rows)],
    source: () =>
      `rows from (jsonb_to_recordset($1::jsonb) as (${types})) with ordinality as signal (${names}, position)`,
  },
  {
    name: "json_to_recordset",
    params: (rows) => [recordset(rows)],
    source: () =>
      `rows from (json_to_recordset($1::json) as (${types})) with ordinality as signal (${names}, position)`,
  },
  {
    name: "values, one parameter a value",
    params: (rows) =>
      rows.flatMap((row) =>
        FIELDS.map(([field]) => (row[field] === null || row[field] === "" ? null : String(row[field]))),
      ),
    source: (rows) => {
      const tuple = (at: number) =>
        FIELDS.map(([, , type], i) => `$${at * FIELDS.length + i + 1}::${type}`).join(",")
      return `(values ${rows.map((_, at) => `(${tuple(at)},${at})`).join(",")}) as signal (${names}, position)`
    },
    maxRows: Math.floor(65_000 / FIELDS.length),
  },
]

const hasValue = (rows: readonly SignalRow[], field: Field) =>
  rows.some((row) => row[field] !== null && row[field] !== "")

function literal(rows: readonly SignalRow[], field: Field, type: string): string {
  const quotes = type === "text" || type === "jsonb"
  return `{${rows.map((row) => (row[field] === null || row[field] === "" ? "NULL" : quotes ? quoted(String(row[field])) : row[field])).join(",")}}`
}

const quoted = (text: string) => `"${text.replace(/["\\]/g, "\\$&")}"`

/** Rows as one JSON array. Payloads are inserted as text, so that no digit is lost. */
function recordset(rows: readonly SignalRow[]): string {
  const objects = rows.map((row) => {
    const members = FIELDS.flatMap(([field, column]) =>
      row[field] === null || row[field] === ""
        ? []
        : [`"${column}":${field === "payload" ? row.payload : JSON.stringify(row[field])}`],
    )
    return `{${members.join(",")}}`
  })
  return `[${objects.join(",")}]`
}
