import type { DatabaseError, FieldDef } from "pg"

/** An answer of the endpoint: a status and the JSON text that is sent. */
export interface EndpointAnswer {
  status: number
  body: string
}

const ERROR_KEYS = [
  "detail",
  "hint",
  "position",
  "internalPosition",
  "internalQuery",
  "where",
  "table",
  "column",
  "schema",
  "dataType",
  "constraint",
  "file",
  "line",
  "routine",
] as const

export type PostgresError = Partial<DatabaseError>

/**
 * An error in Neon's format. It has all keys; `code` and `severity` are "" when Postgres did not send them.
 */
export function errorAnswer(status: number, message: string, error: PostgresError = {}): EndpointAnswer {
  const rest = Object.fromEntries(ERROR_KEYS.map((key) => [key, error[key] ?? null]))
  return {
    status,
    body: JSON.stringify({ message, code: error.code ?? "", severity: error.severity ?? "", ...rest }),
  }
}

/**
 * Whether Postgres reported the error. Node's errors of a socket have codes too, but these are not SQLSTATEs.
 */
export const isFromPostgres = ({ code, severity }: PostgresError) =>
  code?.length === 5 && severity !== undefined

/** The answer of Neon's proxy when it cannot open a connection to Postgres. */
export function connectFailure(error: PostgresError): EndpointAnswer {
  // The proxy checks the password itself, so a wrong one is the caller's error and has no SQLSTATE.
  if (error.code === "28P01") return errorAnswer(400, (error.message ?? "").replaceAll('"', "'"))
  return isFromPostgres(error)
    ? errorAnswer(500, error.message ?? "", error)
    : errorAnswer(500, "Couldn't connect to compute node")
}

/** The answer of Neon's proxy when a statement fails; a lost connection is an error without an SQLSTATE. */
export function statementFailure(error: PostgresError): EndpointAnswer {
  return isFromPostgres(error)
    ? errorAnswer(400, error.message ?? "", error)
    : errorAnswer(400, "connection closed")
}

/** The result of a statement, with every value in Postgres' text format. */
export interface QueryOutcome {
  fields: FieldDef[]
  rows: (string | null)[][]
  /** The first word of the command tag. */
  command: string | null
  rowCount: number | null
}

/**
 * The result of a statement as JSON in Neon's format. The driver asks for both modes and parses the values
 * itself.
 */
export function resultText(
  outcome: QueryOutcome,
  { arrayMode, rawText }: { arrayMode: boolean; rawText: boolean },
): string {
  const fields = JSON.stringify(outcome.fields.map((field) => ({ ...field, format: "text" })))
  const rows = arrayMode && rawText ? JSON.stringify(outcome.rows) : rowsText(outcome, arrayMode, rawText)
  const rest = JSON.stringify({
    command: outcome.command ?? "",
    rowCount: outcome.rowCount,
    rowAsArray: arrayMode,
  })
  return `{"fields":${fields},"rows":${rows},${rest.slice(1)}`
}

/** Writes value by value, since a number can have more digits than a JavaScript number. */
function rowsText({ fields, rows }: QueryOutcome, arrayMode: boolean, rawText: boolean): string {
  const names = fields.map(({ name }) => `${JSON.stringify(name)}:`)
  const cell = (value: string | null, column: number) =>
    rawText ? JSON.stringify(value) : valueText(value, fields[column]?.dataTypeID ?? 0)
  const row = (values: (string | null)[]) =>
    arrayMode
      ? `[${values.map(cell)}]`
      : `{${values.map((value, column) => names[column] + cell(value, column))}}`
  return `[${rows.map(row)}]`
}

const BOOL = 16
const INTEGERS = new Set([21, 23])
const FLOATS = new Set([700, 701])
const JSON_TYPES = new Set([114, 3802])

/** The element type of each built-in array type whose elements JSON does not write as text, and of text[]. */
const ARRAYS = new Map([
  [1000, BOOL],
  [1005, 21],
  [1007, 23],
  [1021, 700],
  [1022, 701],
  [199, 114],
  [3807, 3802],
  [1009, 25],
  [1015, 1043],
  [1016, 20],
  [1231, 1700],
  [2951, 2950],
])

/** @see https://github.com/neondatabase/neon/blob/main/proxy/src/serverless/json.rs */
function valueText(value: string | null, type: number): string {
  if (value === null) return "null"
  if (type === BOOL) return String(value === "t")
  if (INTEGERS.has(type) || JSON_TYPES.has(type)) return value
  if (FLOATS.has(type) && Number.isFinite(Number(value))) return value
  const elementType = ARRAYS.get(type)
  return elementType === undefined ? JSON.stringify(value) : arrayText(value, elementType)
}

/** JSON leaves out the bounds at the beginning, as in `[0:1]={1,2}`. */
const ARRAY_TOKEN = /^\[.*?=|[{}]|,|"((?:[^"\\]|\\.)*)"|[^{},"]+/gs

function arrayText(literal: string, elementType: number): string {
  return literal.replace(ARRAY_TOKEN, (token, quoted: string | undefined, start: number) => {
    if (token === "{") return "["
    if (token === "}") return "]"
    if (token === ",") return ","
    if (start === 0) return ""
    if (quoted !== undefined) return valueText(quoted.replace(/\\(.)/gs, "$1"), elementType)
    return valueText(token === "NULL" ? null : token, elementType)
  })
}
