import { aggregates, COLUMNS, condition, type Scope, sameness, translate, type WorkItem } from "./expressions.ts"
import { type Expression, parse, type Select } from "./parser.ts"
import { refused } from "./tokens.ts"
import { type Type, typeName } from "./types.ts"

/** A query of Analytics Engine as one of Postgres. */
export interface Translation {
  text: string
  values: unknown[]
  columns: { name: string; type: Type }[]
  dataset: { name: string; at: number }
}

/** The name of the last column, in which every row carries how many there were before LIMIT. */
export const TOTAL = "rows_before_limit"

/**
 * Turns a query of the local dialect into one parameterised query over `local_analytics.points`.
 *
 * @throws {RefusedQuery} something in it is outside the dialect
 */
export function translateQuery(query: string): Translation {
  const select = parse(query)
  const names = namesOf(select)
  const scope: Scope = { values: [], keys: new Map(), over: "rows" }
  const orders = select.orderBy.map(({ expression, descending }) => ({ expression: named(expression, names), descending }))
  const keys = select.groupBy.map((expression) => named(expression, names))
  const grouped = keys.length > 0 || select.items.some(({ expression }) => aggregates(expression))

  // The keys are computed below the groups: Postgres would not see that two expressions with parameters are the same.
  const computed = new Map<string, WorkItem & { below: string }>()
  for (const key of keys) {
    if (computed.has(sameness(key))) continue
    const { sql, ...piece } = translate(key, scope)
    if (!piece.finite) throw refused("GROUP BY takes no quotient", key.at)
    if (piece.type.kind === "condition") throw refused("GROUP BY takes no condition", key.at)
    const name = `k${computed.size}`
    computed.set(sameness(key), { ...piece, sql: `p.${name}`, below: `${sql} as ${name}` })
  }
  const { values } = scope
  const where = select.where ? ` and ${condition(select.where, scope).sql}` : ""
  values.push(select.table.name)
  const below = [...computed.values()].map((key) => `, ${key.below}`).join("")
  const rows = `select p.*${below} from local_analytics.points p where p.dataset = $${values.length}${where}`

  const above: Scope = grouped ? { values, keys: computed, over: "groups" } : scope
  const columns = select.items.map(({ expression, name }) => ({ name, ...translate(expression, above) }))
  const picked = columns.map((column, place) => `${shown(column)} as c${place}`)
  const grouping = computed.size > 0 ? ` group by ${[...computed.values()].map(({ sql }) => sql).join(", ")}` : ""
  const order = orders.map(({ expression, descending }) => ordering(translate(expression, above), descending))
  const text = [
    `select ${[...picked, `count(*) over () as ${TOTAL}`].join(", ")} from (${rows}) p${grouping}`,
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
    if (COLUMNS.has(name) && !isItself) throw refused(`${name} is a column and must not name another expression`, at)
    names.set(name, expression)
  }
  return names
}

/** An expression with what its names stand for in their place. */
function named(expression: Expression, names: ReadonlyMap<string, Expression>): Expression {
  if (expression.kind === "name") return names.get(expression.name) ?? expression
  return Object.fromEntries(
    Object.entries(expression).map(([key, part]) => {
      if (Array.isArray(part)) return [key, part.map((one: Expression) => named(one, names))]
      return [key, typeof part === "object" && part !== null ? named(part as Expression, names) : part]
    }),
  ) as Expression
}

function ordering({ sql, finite }: WorkItem, descending: boolean): string {
  // NaN comes last either way.
  return `${finite ? sql : `nullif(${sql}, 'NaN')`} ${descending ? "desc" : "asc"} nulls last`
}

/** A time as ClickHouse writes it, a condition as 1 or 0, and everything as text, so that no digit is lost. */
function shown({ sql, type }: WorkItem): string {
  if (type.kind === "time") return `to_char(${sql}, 'YYYY-MM-DD HH24:MI:SS')`
  if (type.kind === "condition") return `(${sql})::int::text`
  return `(${sql})::text`
}

/** The answer to a query, as production writes it. `rows` hold the columns' texts in order, and then the total. */
export function answerText(columns: Translation["columns"], rows: readonly string[][]): string {
  const data = rows.map((row) =>
    Object.fromEntries(columns.map(({ name, type }, place) => [name, jsonValue(row[place] ?? "", type)])),
  )
  return JSON.stringify({
    meta: columns.map(({ name, type }) => ({ name, type: typeName(type) })),
    data,
    rows: rows.length,
    rows_before_limit_at_least: Number(rows[0]?.[columns.length] ?? 0),
  })
}

function jsonValue(text: string, type: Type): string | number | null {
  // NaN and the infinities are null: JSON has no word for them.
  if (type.kind === "float") return Number.isFinite(Number(text)) ? Number(text) : null
  // Whole numbers of 64 bits come in quotes, as a reader's own numbers may not hold them.
  if (type.kind === "condition" || (type.kind === "integer" && type.bits < 64)) return Number(text)
  return text
}
