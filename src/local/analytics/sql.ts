import {
  aggregates,
  COLUMNS,
  condition,
  type Fragment,
  identityOf,
  type Scope,
  translate,
} from "./expressions.ts"
import { type Expression, parse, type Select } from "./parser.ts"
import { refused } from "./tokens.ts"
import { type Type, typeName } from "./types.ts"

/** A query of Analytics Engine, translated for Postgres. */
export interface Translation {
  text: string
  values: unknown[]
  columns: { name: string; type: Type }[]
  dataset: { name: string; at: number }
}

/** The name of the last column. In every row it holds the number of rows before LIMIT. */
const TOTAL = "rows_before_limit"

/**
 * Translates a query of the local dialect into a parameterised query over `local_analytics.points`.
 *
 * @throws {RefusedQuery} the query has a part that the local dialect does not have
 */
export function translateQuery(query: string): Translation {
  const select = parse(query)
  const names = namesOf(select)
  const scope: Scope = { values: [], keys: new Map(), over: "rows" }
  const orders = select.orderBy.map(({ expression, descending }) => ({
    expression: named(expression, names),
    descending,
  }))
  const keys = select.groupBy.map((expression) => named(expression, names))
  const grouped = keys.length > 0 || select.items.some(({ expression }) => aggregates(expression))

  // The keys are computed in the subquery: Postgres does not recognize that two expressions with parameters
  // are equal.
  const computed = new Map<string, Fragment & { below: string }>()
  for (const key of keys) {
    if (computed.has(identityOf(key))) continue
    const { sql, ...fragment } = translate(key, scope)
    if (!fragment.finite) throw refused("GROUP BY does not take a quotient", key.at)
    if (fragment.type.kind === "condition") throw refused("GROUP BY does not take a condition", key.at)
    const name = `k${computed.size}`
    computed.set(identityOf(key), { ...fragment, sql: `p.${name}`, below: `${sql} as ${name}` })
  }
  const { values } = scope
  const where = select.where ? ` and ${condition(select.where, scope).sql}` : ""
  values.push(select.table.name)
  const below = [...computed.values()].map((key) => `, ${key.below}`).join("")
  const rows = `select p.*${below} from local_analytics.points p where p.dataset = $${values.length}${where}`

  const above: Scope = grouped ? { values, keys: computed, over: "groups" } : scope
  const columns = select.items.map(({ expression, name }) => ({ name, ...translate(expression, above) }))
  const selected = columns.map((column, index) => `${asText(column)} as c${index}`)
  const grouping =
    computed.size > 0 ? ` group by ${[...computed.values()].map(({ sql }) => sql).join(", ")}` : ""
  const order = orders.map(({ expression, descending }) => ordering(translate(expression, above), descending))
  const text = [
    `select ${[...selected, `count(*) over () as ${TOTAL}`].join(", ")} from (${rows}) p${grouping}`,
    ...(order.length > 0 ? [`order by ${order.join(", ")}`] : []),
    ...(select.limit === undefined ? [] : [`limit ${select.limit}`]),
  ].join(" ")
  return { text, values, columns: columns.map(({ name, type }) => ({ name, type })), dataset: select.table }
}

/** The expressions that GROUP BY and ORDER BY can use by name. */
function namesOf({ items }: Select): Map<string, Expression> {
  const names = new Map<string, Expression>()
  const taken = new Set<string>()
  for (const { expression, name, alias, at } of items) {
    if (taken.has(name)) throw refused(`Two columns are named ${name}`, at)
    taken.add(name)
    if (!alias) continue
    const isItself = expression.kind === "name" && expression.name === name
    if (COLUMNS.has(name) && !isItself)
      throw refused(`${name} is a column and must not name another expression`, at)
    names.set(name, expression)
  }
  return names
}

/** Replaces the names in an expression with the expressions that they name. */
function named(expression: Expression, names: ReadonlyMap<string, Expression>): Expression {
  if (expression.kind === "name") return names.get(expression.name) ?? expression
  return Object.fromEntries(
    Object.entries(expression).map(([key, part]) => {
      if (Array.isArray(part)) return [key, part.map((item: Expression) => named(item, names))]
      return [key, typeof part === "object" && part !== null ? named(part as Expression, names) : part]
    }),
  ) as Expression
}

function ordering({ sql, finite }: Fragment, descending: boolean): string {
  // ClickHouse puts NaN last in both directions.
  return `${finite ? sql : `nullif(${sql}, 'NaN')`} ${descending ? "desc" : "asc"} nulls last`
}

/**
 * Converts a value to text, so that no digit is lost: a time as ClickHouse writes it, a condition as 1 or 0.
 */
function asText({ sql, type }: Fragment): string {
  if (type.kind === "time") return `to_char(${sql}, 'YYYY-MM-DD HH24:MI:SS')`
  if (type.kind === "condition") return `(${sql})::int::text`
  return `(${sql})::text`
}

/**
 * The answer to a query in production's format. A row holds the texts of its columns in order, then the
 * total.
 */
export function answerText(columns: Translation["columns"], rows: readonly string[][]): string {
  const data = rows.map((row) =>
    Object.fromEntries(columns.map(({ name, type }, index) => [name, jsonValue(row[index] ?? "", type)])),
  )
  return JSON.stringify({
    meta: columns.map(({ name, type }) => ({ name, type: typeName(type) })),
    data,
    rows: rows.length,
    rows_before_limit_at_least: Number(rows[0]?.[columns.length] ?? 0),
  })
}

function jsonValue(text: string, type: Type): string | number | null {
  // JSON has no NaN and no infinities, so they are null.
  if (type.kind === "float") return Number.isFinite(Number(text)) ? Number(text) : null
  // Integers of 64 bits are in quotes, since the numbers of many readers cannot hold them.
  if (type.kind === "condition" || (type.kind === "integer" && type.bits < 64)) return Number(text)
  return text
}
