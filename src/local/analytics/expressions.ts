// biome-ignore-all lint/suspicious/noImportCycles: an expression may be a function, which translates its arguments.
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

/** A part of a Postgres query, and the type that its value has in ClickHouse. */
export interface Fragment {
  sql: string
  type: Type
  /**
   * False when the value can be NaN or infinite. Postgres compares and orders those in another way than
   * ClickHouse.
   */
  finite: boolean
}

/** The surroundings of an expression: the meaning of names, and whether rows are aggregated. */
export interface Scope {
  /**
   * The query's values, in the order of $1, $2, ... No text of a query becomes a part of the Postgres query.
   */
  values: unknown[]
  /** The keys of GROUP BY, by `identityOf` their expressions. */
  keys: ReadonlyMap<string, Fragment>
  /** `rows`: aggregates are not allowed. `groups`: columns are allowed only within aggregates. */
  over: "rows" | "groups"
}

/** The most blobs, and the most doubles, that a point can have. */
export const COLUMNS_OF_A_KIND = 20

/** The columns of every dataset. */
export const COLUMNS: ReadonlyMap<string, Fragment> = new Map([
  ["timestamp", { sql: "p.timestamp", type: TIME, finite: true }],
  ["dataset", { sql: "p.dataset", type: TEXT, finite: true }],
  // The stand-in keeps every point.
  ["_sample_interval", { sql: "1::bigint", type: integer(32), finite: true }],
  ["index1", { sql: "p.index1", type: TEXT, finite: true }],
  ...columnsOf("blob", TEXT),
  ...columnsOf("double", FLOAT),
])

function columnsOf(name: "blob" | "double", type: Type): [string, Fragment][] {
  return Array.from({ length: COLUMNS_OF_A_KIND }, (_, index) => {
    const column = `${name}${index + 1}`
    return [column, { sql: `p.${column}`, type, finite: true }]
  })
}

export function parameter(scope: Scope, value: unknown, type: "bigint" | "float8" | "text"): string {
  scope.values.push(value)
  return `$${scope.values.length}::${type}`
}

/** Returns a text that is equal for equal expressions, wherever they stand in the query. */
export const identityOf = (expression: Expression) =>
  JSON.stringify(expression, (key, value) => (key === "at" ? undefined : value))

export function translate(expression: Expression, scope: Scope): Fragment {
  const key = scope.over === "groups" ? scope.keys.get(identityOf(expression)) : undefined
  if (key) return key
  const { at } = expression
  switch (expression.kind) {
    case "number":
      return literal(expression.text, at, scope)
    case "text":
      if (expression.value.includes("\0")) throw refused("A text contains a NUL character", at)
      return { sql: parameter(scope, expression.value, "text"), type: TEXT, finite: true }
    case "interval":
      throw refused("INTERVAL is allowed only after a time and + or -, and in toStartOfInterval", at)
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
      return comparison(
        expression.sign,
        translate(expression.left, scope),
        translate(expression.right, scope),
        at,
      )
    case "in": {
      const operand = translate(expression.operand, scope)
      const equal = expression.list.map(
        (item) => comparison("=", operand, translate(item, scope), item.at).sql,
      )
      return {
        sql: `(${expression.negated ? "not " : ""}(${equal.join(" or ")}))`,
        type: CONDITION,
        finite: true,
      }
    }
    case "call":
      return call(expression, scope)
  }
}

export function condition(expression: Expression, scope: Scope): Fragment {
  const fragment = translate(expression, scope)
  if (fragment.type.kind !== "condition") throw refused("This must be a condition", expression.at)
  return fragment
}

export function number(expression: Expression, scope: Scope): Fragment {
  const fragment = translate(expression, scope)
  if (!isNumber(fragment.type))
    throw refused(`This must be a number, not a ${typeName(fragment.type)}`, expression.at)
  return fragment
}

function literal(text: string, at: number, scope: Scope): Fragment {
  if (!/^\d+$/.test(text)) {
    if (!Number.isFinite(Number(text))) throw refused(`The number ${text} is too large`, at)
    return { sql: parameter(scope, text, "float8"), type: FLOAT, finite: true }
  }
  const value = BigInt(text)
  if (value >= 1n << 63n) throw refused(`The number ${text} is too large`, at)
  return { sql: parameter(scope, text, "bigint"), type: literalType(value), finite: true }
}

function column(name: string, at: number, scope: Scope): Fragment {
  const found = COLUMNS.get(name)
  if (!found) throw unknown(`the column ${name}`, at)
  if (scope.over === "groups") throw refused(`${name} is neither in GROUP BY nor in an aggregate`, at)
  return found
}

function negative(operand: Expression, scope: Scope): Fragment {
  const { sql, type, finite } = number(operand, scope)
  const isLiteral = operand.kind === "number" && type.kind === "integer"
  return {
    sql: `(-${sql})`,
    type: isLiteral ? literalType(-BigInt(operand.text)) : negativeType(type),
    finite,
  }
}

function arithmetic(expression: Expression & { kind: "arithmetic" }, scope: Scope): Fragment {
  const { sign, left, right } = expression
  if (right.kind === "interval" && (sign === "+" || sign === "-")) {
    const time = translate(left, scope)
    if (time.type.kind !== "time")
      throw refused("An INTERVAL can only be added to or subtracted from a time", expression.at)
    const seconds = parameter(scope, right.seconds, "float8")
    return {
      ...time,
      sql: `local_analytics.datetime(extract(epoch from ${time.sql})::float8 ${sign} ${seconds})`,
    }
  }
  const [a, b] = [number(left, scope), number(right, scope)]
  const type = arithmeticType(sign, a.type, b.type)
  if (sign === "/")
    return { sql: `local_analytics.divide(${a.sql}::float8, ${b.sql}::float8)`, type, finite: false }
  return { sql: `(${a.sql} ${sign} ${b.sql})`, type, finite: a.finite && b.finite }
}

function comparison(sign: string, left: Fragment, right: Fragment, at: number): Fragment {
  const alike = isNumber(left.type) ? isNumber(right.type) : left.type.kind === right.type.kind
  if (!alike) throw refused(`A ${typeName(left.type)} cannot be compared with a ${typeName(right.type)}`, at)
  if (left.type.kind === "condition") throw refused("A condition must not be compared", at)
  const sql = `(${left.sql} ${sign === "!=" ? "<>" : sign} ${right.sql})`
  if (left.finite && right.finite) return { sql, type: CONDITION, finite: true }
  // In ClickHouse NaN differs from every value, even from NaN. In Postgres NaN equals NaN and is larger than
  // every other value.
  const hasNaN = [left, right].map((fragment) => `${fragment.sql}::float8 = 'NaN'`).join(" or ")
  return { sql: `(case when ${hasNaN} then ${sign === "!="} else ${sql} end)`, type: CONDITION, finite: true }
}

function call(expression: Call, scope: Scope): Fragment {
  const name = functionNamed(expression.name)
  const aggregate = AGGREGATES.get(name)
  if (aggregate) {
    if (scope.over === "rows")
      throw refused(`${expression.name} is an aggregate and is not allowed here`, expression.at)
    return aggregate(expression, { ...scope, over: "rows" })
  }
  const translateCall = FUNCTIONS.get(name)
  if (!translateCall) throw unknown(`the function ${expression.name}`, expression.at)
  return translateCall(expression, scope)
}

/** Whether an expression contains an aggregate. */
export function aggregates(expression: Expression): boolean {
  if (expression.kind === "call" && AGGREGATES.has(functionNamed(expression.name))) return true
  return Object.values(expression).some((part) =>
    (Array.isArray(part) ? part : [part]).some(
      (one) => typeof one === "object" && one !== null && aggregates(one as Expression),
    ),
  )
}
