import type { DatabaseError, FieldDef } from "pg"

/** An answer of the endpoint: a status and the object that is sent as JSON. */
export interface EndpointAnswer {
  status: number
  body: object
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

/** An error in Neon's form: all keys are there, `code` and `severity` are "" when Postgres did not say them. */
export function errorAnswer(status: number, message: string, error: Partial<DatabaseError> = {}): EndpointAnswer {
  const rest = Object.fromEntries(ERROR_KEYS.map((key) => [key, error[key] ?? null]))
  return { status, body: { message, code: error.code ?? "", severity: error.severity ?? "", ...rest } }
}

/** Codes that Node gives a socket's errors, which are no SQLSTATEs. */
const isSqlState = (code: string | undefined) => /^[0-9A-Z]{5}$/.test(code ?? "") && !/^E[A-Z]{4}$/.test(code ?? "")

/** What Neon's proxy says when it can't open a connection to Postgres. */
export function connectFailure(error: Partial<DatabaseError>): EndpointAnswer {
  // The proxy checks the password itself, so that failure is the caller's and has no SQLSTATE.
  if (error.code === "28P01") return errorAnswer(400, error.message ?? "password authentication failed")
  if (isSqlState(error.code)) return errorAnswer(500, error.message ?? "", error)
  return errorAnswer(500, "Couldn't connect to compute node")
}

/** What Neon's proxy says when a statement fails; a lost connection is an error without an SQLSTATE. */
export function statementFailure(error: Partial<DatabaseError>): EndpointAnswer {
  return isSqlState(error.code) ? errorAnswer(400, error.message ?? "", error) : errorAnswer(400, "connection closed")
}

export interface QueryOutcome {
  fields: FieldDef[]
  rows: unknown[][]
  command: string | null
  rowCount: number | null
}

/**
 * One statement's result in Neon's form.
 *
 * @param options.arrayMode rows as arrays instead of objects
 * @param options.rawText values as Postgres' own text instead of JSON numbers, booleans and objects
 */
export function resultAnswer(
  { fields, rows, command, rowCount }: QueryOutcome,
  options: { arrayMode: boolean; rawText: boolean },
) {
  const values = options.rawText
    ? rows
    : rows.map((row) => row.map((value, column) => jsonValue(value, fields[column]?.dataTypeID)))
  return {
    fields: fields.map((field) => ({ ...field, format: "text" })),
    rows: options.arrayMode
      ? values
      : values.map((row) => Object.fromEntries(fields.map(({ name }, column) => [name, row[column]]))),
    command: command ?? "",
    rowCount,
    rowAsArray: options.arrayMode,
  }
}

const BOOL = 16
const NUMBERS = new Set([21, 23, 26, 700, 701])
const JSON_TYPES = new Set([114, 3802])

function jsonValue(value: unknown, type = 0): unknown {
  if (typeof value !== "string") return value
  if (type === BOOL) return value === "t"
  if (NUMBERS.has(type)) return Number.isFinite(Number(value)) ? Number(value) : value
  return JSON_TYPES.has(type) ? JSON.parse(value) : value
}
