// biome-ignore-all lint/suspicious/noImportCycles: a function translates its arguments, which may be functions.
import {
  condition,
  type Fragment,
  identityOf,
  number,
  parameter,
  type Scope,
  translate,
} from "./expressions.ts"
import type { Call, Expression } from "./parser.ts"
import { refused, unknown } from "./tokens.ts"
import { commonType, FLOAT, type IntegerType, integer, sumType, TIME, typeName } from "./types.ts"

type Translate = (call: Call, scope: Scope) => Fragment

/** The names of standard SQL, which ignore case. The other names of ClickHouse do not. */
const SQL_NAMES = ["sum", "count", "avg", "min", "max", "if", "round", "now"]
export const functionNamed = (name: string) =>
  SQL_NAMES.includes(name.toLowerCase()) ? name.toLowerCase() : name

/** The value of an aggregate over no rows, as in ClickHouse. */
const EMPTY = { time: "to_timestamp(0)", text: "''::text", integer: "0::bigint", float: "0::float8" }

/** The functions over the rows of a group. Their arguments are expressions over single rows. */
export const AGGREGATES: ReadonlyMap<string, Translate> = new Map<string, Translate>([
  ["count", (call) => constant(call, { sql: "count(*)", type: integer(64), finite: true })],
  [
    "countIf",
    (call, scope) => ({
      sql: `count(*)${filter(argumentsOf(call, 1)[0], scope)}`,
      type: integer(64),
      finite: true,
    }),
  ],
  ["sum", (call, scope) => sum(argumentsOf(call, 1)[0], "", scope)],
  [
    "sumIf",
    (call, scope) => {
      const [value, when] = argumentsOf(call, 2)
      return sum(value, filter(when, scope), scope)
    },
  ],
  [
    "avg",
    (call, scope) => {
      const { sql } = number(argumentsOf(call, 1)[0], scope)
      return { sql: `coalesce(avg(${sql}::float8), 'NaN')`, type: FLOAT, finite: false }
    },
  ],
  ["min", minOrMax],
  ["max", minOrMax],
  ["quantileExactWeighted", quantile],
])

export const FUNCTIONS: ReadonlyMap<string, Translate> = new Map<string, Translate>([
  ["now", (call) => constant(call, { sql: "date_trunc('second', now())", type: TIME, finite: true })],
  ["if", conditional],
  ["intDiv", integerQuotient],
  ["round", rounded],
  ["toDateTime", toDateTime],
  ["toUnixTimestamp", secondsOf],
  ["toUInt32", secondsOf],
  ["toStartOfInterval", startOfInterval],
])

function argumentsOf(call: Call, count: 0): []
function argumentsOf(call: Call, count: 1): [Expression]
function argumentsOf(call: Call, count: 2): [Expression, Expression]
function argumentsOf(call: Call, count: 3): [Expression, Expression, Expression]
function argumentsOf(call: Call, count: number): Expression[] {
  if (call.parameters && call.name !== "quantileExactWeighted")
    throw unknown(`${call.name} with two lists of arguments`, call.at)
  const { length } = call.arguments
  if (length !== count)
    throw refused(`${call.name} takes ${count} argument${count === 1 ? "" : "s"}, not ${length}`, call.at)
  return call.arguments
}

function constant(call: Call, fragment: Fragment): Fragment {
  argumentsOf(call, 0)
  return fragment
}

const filter = (when: Expression, scope: Scope) => ` filter (where ${condition(when, scope).sql})`

function sum(value: Expression, filtered: string, scope: Scope): Fragment {
  const { sql, type, finite } = number(value, scope)
  const cast = type.kind === "integer" ? "bigint" : "float8"
  return { sql: `coalesce(sum(${sql})${filtered}, 0)::${cast}`, type: sumType(type), finite }
}

function minOrMax(call: Call, scope: Scope): Fragment {
  const [argument] = argumentsOf(call, 1)
  const { sql, type, finite } = translate(argument, scope)
  if (type.kind === "condition") throw refused(`${call.name} does not take a condition`, argument.at)
  // ClickHouse ignores NaN here, while Postgres takes it as the largest value.
  if (!finite) throw refused(`${call.name} of a quotient is not supported here`, argument.at)
  return { sql: `coalesce(${functionNamed(call.name)}(${sql}), ${EMPTY[type.kind]})`, type, finite: true }
}

/**
 * The first value whose accumulated weight reaches `level` of the total. Every weight is 1 here, so this is
 * `percentile_disc`.
 *
 * @see https://clickhouse.com/docs/sql-reference/aggregate-functions/reference/quantileexactweighted
 */
function quantile(call: Call, scope: Scope): Fragment {
  const [value, weight] = argumentsOf(call, 2)
  const [level, ...rest] = call.parameters ?? []
  if (level?.kind !== "number" || rest.length > 0 || Number(level.text) > 1)
    throw refused(
      `${call.name} takes one level from 0 to 1, as in ${call.name}(0.5)(double1, _sample_interval)`,
      call.at,
    )
  if (identityOf(weight) !== identityOf({ kind: "name", name: "_sample_interval", at: 0 }))
    throw refused(`${call.name} takes only _sample_interval as its weight`, weight.at)
  const { sql, type, finite } = number(value, scope)
  if (type.kind !== "float") throw refused(`${call.name} takes a double`, value.at)
  if (!finite) throw refused(`${call.name} of a quotient is not supported here`, value.at)
  const rank = parameter(scope, level.text, "float8")
  return {
    sql: `coalesce(percentile_disc(${rank}) within group (order by ${sql}), 'NaN')`,
    type,
    finite: false,
  }
}

function conditional(call: Call, scope: Scope): Fragment {
  const [when, a, b] = argumentsOf(call, 3)
  const test = condition(when, scope)
  const [then, otherwise] = [translate(a, scope), translate(b, scope)]
  const type = commonType(then.type, otherwise.type)
  if (!type || type.kind === "condition")
    throw refused(`if has no common type for ${typeName(then.type)} and ${typeName(otherwise.type)}`, call.at)
  const cast = type.kind === "float" ? "::float8" : ""
  return {
    sql: `(case when ${test.sql} then ${then.sql}${cast} else ${otherwise.sql}${cast} end)`,
    type,
    finite: then.finite && otherwise.finite,
  }
}

function integerQuotient(call: Call, scope: Scope): Fragment {
  const [a, b] = argumentsOf(call, 2)
  const [left, right] = [number(a, scope), number(b, scope)]
  if (left.type.kind !== "integer" || right.type.kind !== "integer")
    throw refused("intDiv takes whole numbers", call.at)
  const signed = left.type.signed || right.type.signed
  const dividend = signed ? asSigned(left.sql, left.type) : left.sql
  const divisor = signed && left.type.bits <= right.type.bits ? asSigned(right.sql, right.type) : right.sql
  return { sql: `(${dividend} / ${divisor})`, type: integer(left.type.bits, signed), finite: true }
}

/**
 * Reinterprets an unsigned number as a signed one of the same size, as ClickHouse does before a signed
 * division.
 */
function asSigned(sql: string, { bits, signed }: IntegerType): string {
  // A Postgres bigint cannot hold an unsigned 64-bit number that would wrap.
  if (signed || bits === 64) return sql
  const half = 2 ** (bits - 1)
  return `((${sql} + ${half}) % ${2 ** bits} - ${half})`
}

function rounded(call: Call, scope: Scope): Fragment {
  const places = call.arguments.length === 2 ? call.arguments[1] : undefined
  const [value] = places ? argumentsOf(call, 2) : argumentsOf(call, 1)
  if (places && (places.kind !== "number" || !/^\d$|^1[0-5]$/.test(places.text)))
    throw refused("round takes 0 to 15 places", places.at)
  const fragment = number(value, scope)
  if (fragment.type.kind === "integer") return fragment
  // ClickHouse and Postgres both round a half to the even neighbour.
  const scale = parameter(scope, 10 ** Number(places?.kind === "number" ? places.text : 0), "float8")
  return { ...fragment, sql: `(round(${fragment.sql} * ${scale}) / ${scale})` }
}

function toDateTime(call: Call, scope: Scope): Fragment {
  const [argument] = argumentsOf(call, 1)
  if (argument.kind === "text") {
    const milliseconds = Date.parse(`${argument.value.replace(" ", "T")}Z`)
    // Date.parse turns a day that the month does not have into a day of the next month.
    if (
      Number.isNaN(milliseconds) ||
      new Date(milliseconds).toISOString() !== `${argument.value.replace(" ", "T")}.000Z`
    )
      throw refused("toDateTime takes seconds, or a text such as '2025-01-15 09:30:00'", argument.at)
    return time(parameter(scope, milliseconds / 1000, "float8"))
  }
  const { sql, type } = number(argument, scope)
  if (type.kind !== "integer") throw refused("toDateTime takes whole seconds", argument.at)
  return time(sql)
}

const time = (seconds: string): Fragment => ({
  sql: `local_analytics.datetime(${seconds})`,
  type: TIME,
  finite: true,
})

function secondsOf(call: Call, scope: Scope): Fragment {
  const [argument] = argumentsOf(call, 1)
  const { sql, type } = translate(argument, scope)
  if (type.kind !== "time") throw refused(`${call.name} takes a time`, argument.at)
  return { sql: `extract(epoch from ${sql})::bigint`, type: integer(32), finite: true }
}

function startOfInterval(call: Call, scope: Scope): Fragment {
  const [argument, interval] = argumentsOf(call, 2)
  const { sql, type } = translate(argument, scope)
  if (type.kind !== "time") throw refused("toStartOfInterval takes a time", argument.at)
  if (interval.kind !== "interval") throw refused("toStartOfInterval takes an INTERVAL", interval.at)
  // ClickHouse counts hours from midnight and other units from 1970. The result is the same only for hours
  // that divide a day.
  if (interval.unit === "HOUR" && 86_400 % interval.seconds !== 0)
    throw refused("toStartOfInterval takes hours that divide a day: 1, 2, 3, 4, 6, 8, 12 or 24", interval.at)
  const seconds = parameter(scope, interval.seconds, "bigint")
  return {
    sql: `to_timestamp(extract(epoch from ${sql})::bigint / ${seconds} * ${seconds})`,
    type: TIME,
    finite: true,
  }
}
