// biome-ignore lint/suspicious/noImportCycles: an expression may be a function, which translates its arguments.
import { AGGREGATES, FUNCTIONS, functionNamed } from "./functions.ts"
import type { Call, Expression } from "./parser.ts"
import { refused, unknown } from "./tokens.ts"
import {
  arithmeticType,
  CONDITION,
  FLOAT,
  integer,
  isNumber,
  literalType,
  negativeType,
  TEXT,
  TIME,
  type Type,
  typeName,
} from "./types.ts"

/** A piece of Postgres' SQL, and what its value is to ClickHouse. */
export interface WorkItem {
  sql: string
  type: Type
  /** Whether it may be NaN or infinite, which Postgres compares and orders in another way. */
  finite: boolean
}

/** Where an expression stands: what a name means there, and whether rows are being aggregated. */
export interface Scope {
  /** The values of the query, in the order of $1, $2, ...: no text of a query becomes text of Postgres' SQL. */
  values: unknown[]
  /** The keys of GROUP BY, by their `sameness`. */
  keys: ReadonlyMap<string, WorkItem>
  /** `rows`: no aggregate allowed; `groups`: columns only within aggregates. */
  over: "rows" | "groups"
}

/** How many blobs and how many doubles a point can have. */
export const PLACES = 20

/** The columns of every dataset. */
export const COLUMNS: ReadonlyMap<string, WorkItem> = new Map([
  ["timestamp", { sql: "p.timestamp", type: TIME, finite: true }],
  ["dataset", { sql: "p.dataset", type: TEXT, finite: true }],
  // Nothing is sampled away here.
  ["_sample_interval", { sql: "1::bigint", type: integer(32), finite: true }],
  ["index1", { sql: "p.index1", type: TEXT, finite: true }],
  ...places("blob", TEXT),
  ...places("double", FLOAT),
])

function places(name: "blob" | "double", type: Type): [string, WorkItem][] {
  return Array.from({ length: PLACES }, (_, place) => {
    const column = `${name}${place + 1}`
    return [column, { sql: `p.${column}`, type, finite: true }]
  })
}

export function parameter(scope: Scope, value: unknown, type: "bigint" | "float8" | "text"): string {
  scope.values.push(value)
  return `$${scope.values.length}::${type}`
}

/** A text that is equal for equal expressions. */
export const sameness = (expression: Expression) => JSON.stringify(expression, (key, value) => (key === "at" ? undefined : value))

export function translate(expression: Expression, scope: Scope): WorkItem {
  const key = scope.over === "groups" ? scope.keys.get(sameness(expression)) : undefined
  if (key) return key
  const { at } = expression
  switch (expression.kind) {
    case "number":
      return literal(expression.text, at, scope)
    case "text":
      if (expression.value.includes("\0")) throw refused("A text holds a NUL character", at)
      return { sql: parameter(scope, expression.value, "text"), type: TEXT, finite: true }
    case "interval":
      throw refused("INTERVAL stands only after a time and + or -, or in toStartOfInterval", at)
    case "name":
      return column(expression.name, at, scope)
    case "negative":
      return negative(expression.operand, scope)
    case "not":
      return { sql: `(not ${condition(expression.operand, scope).sql})`, type: CONDITION, finite: true }
    case "logic": {
      const [left, right] = [condition(expression.left, scope), condition(expression.right, scope)]
      return { sql: `(${left.sql} ${expression.sign} ${right.sql})`, type: CONDITION, finite: true }
    }
    case "arithmetic":
      return arithmetic(expression, scope)
    case "comparison":
      return comparison(expression.sign, translate(expression.left, scope), translate(expression.right, scope), at)
    case "in": {
      const operand = translate(expression.operand, scope)
      const equal = expression.list.map((item) => comparison("=", operand, translate(item, scope), item.at).sql)
      return { sql: `(${expression.negated ? "not " : ""}(${equal.join(" or ")}))`, type: CONDITION, finite: true }
    }
    case "call":
      return call(expression, scope)
  }
}

export function condition(expression: Expression, scope: Scope): WorkItem {
  const piece = translate(expression, scope)
  if (piece.type.kind !== "condition") throw refused("This must be a condition", expression.at)
  return piece
}

export function number(expression: Expression, scope: Scope): WorkItem {
  const piece = translate(expression, scope)
  if (!isNumber(piece.type)) throw refused(`This must be a number, not a ${typeName(piece.type)}`, expression.at)
  return piece
}

function literal(text: string, at: number, scope: Scope): WorkItem {
  if (!/^\d+$/.test(text)) {
    if (!Number.isFinite(Number(text))) throw refused(`The number ${text} is too large`, at)
    return { sql: parameter(scope, text, "float8"), type: FLOAT, finite: true }
  }
  const value = BigInt(text)
  if (value >= 1n << 63n) throw refused(`The number ${text} is too large`, at)
  return { sql: parameter(scope, text, "bigint"), type: literalType(value), finite: true }
}

function column(name: string, at: number, scope: Scope): WorkItem {
  const found = COLUMNS.get(name)
  if (!found) throw unknown(`the column ${name}`, at)
  if (scope.over === "groups") throw refused(`${name} is neither in GROUP BY nor in an aggregate`, at)
  return found
}

function negative(operand: Expression, scope: Scope): WorkItem {
  const { sql, type, finite } = number(operand, scope)
  const isLiteral = operand.kind === "number" && type.kind === "integer"
  return { sql: `(-${sql})`, type: isLiteral ? literalType(-BigInt(operand.text)) : negativeType(type), finite }
}

function arithmetic(expression: Expression & { kind: "arithmetic" }, scope: Scope): WorkItem {
  const { sign, left, right } = expression
  if (right.kind === "interval" && (sign === "+" || sign === "-")) {
    const time = translate(left, scope)
    if (time.type.kind !== "time") throw refused("An INTERVAL can only be added to or subtracted from a time", expression.at)
    const seconds = parameter(scope, right.seconds, "float8")
    return { ...time, sql: `local_analytics.datetime(extract(epoch from ${time.sql})::float8 ${sign} ${seconds})` }
  }
  const [one, other] = [number(left, scope), number(right, scope)]
  const type = arithmeticType(sign, one.type, other.type)
  if (sign === "/") return { sql: `local_analytics.divide(${one.sql}::float8, ${other.sql}::float8)`, type, finite: false }
  return { sql: `(${one.sql} ${sign} ${other.sql})`, type, finite: one.finite && other.finite }
}

export function comparison(sign: string, left: WorkItem, right: WorkItem, at: number): WorkItem {
  const alike = isNumber(left.type) ? isNumber(right.type) : left.type.kind === right.type.kind
  if (!alike) throw refused(`A ${typeName(left.type)} cannot be compared with a ${typeName(right.type)}`, at)
  if (left.type.kind === "condition") throw refused("A condition must not be compared", at)
  const sql = `(${left.sql} ${sign === "!=" ? "<>" : sign} ${right.sql})`
  if (left.finite && right.finite) return { sql, type: CONDITION, finite: true }
  // NaN is unlike everything, itself too; in Postgres it is like itself and above everything.
  const hasNaN = [left, right].map((piece) => `${piece.sql}::float8 = 'NaN'`).join(" or ")
  return { sql: `(case when ${hasNaN} then ${sign === "!="} else ${sql} end)`, type: CONDITION, finite: true }
}

function call(expression: Call, scope: Scope): WorkItem {
  const name = functionNamed(expression.name)
  const aggregate = AGGREGATES.get(name)
  if (aggregate) {
    if (scope.over === "rows") throw refused(`${expression.name} is an aggregate and must not stand here`, expression.at)
    return aggregate(expression, { ...scope, over: "rows" })
  }
  const make = FUNCTIONS.get(name)
  if (!make) throw unknown(`the function ${expression.name}`, expression.at)
  return make(expression, scope)
}

/** Whether an expression has an aggregate in it. */
export function aggregates(expression: Expression): boolean {
  if (expression.kind === "call" && AGGREGATES.has(functionNamed(expression.name))) return true
  return Object.values(expression).some((part) =>
    (Array.isArray(part) ? part : [part]).some((one) => typeof one === "object" && one !== null && aggregates(one as Expression)),
  )
}
