import { and, type SQL, sql } from "drizzle-orm"
import { utc } from "../database/connection.ts"
import type { Search } from "../database/page.ts"
import { MAX_INDEXED_BYTES, signals } from "../database/schema.ts"

/** The position of a signal in a list, newest first. */
export interface Cursor {
  time: string
  id: number
}

/** A filter for signals. Times are UTC text. */
export interface SignalFilter {
  context_window_id?: string | undefined
  signal_source?: string | undefined
  user_id?: string | undefined
  agent_id?: string | undefined
  escalate_flag?: number | undefined
  /** Inclusive, as `max_score`. */
  min_score?: number | undefined
  max_score?: number | undefined
  /** Inclusive. */
  since?: string | undefined
  /** Exclusive. */
  until?: string | undefined
}

/**
 * The signals of a page that are tested against filters without an index: about 20 ms. The page ends after
 * them, and its cursor continues. If the index also has the filter, a test costs a tenth.
 */
export const MAX_TRIED = 5_000
export const MAX_TRIED_IN_INDEX = 50_000

type Name = Exclude<keyof SignalFilter, "since" | "until">

const CONDITIONS: Record<Name, { column: string; of: (value: string | number) => SQL }> = {
  context_window_id: { column: "context_window_id", of: (value) => sql`context_window_id = ${value}` },
  user_id: { column: "user_id", of: (value) => sql`user_id = ${value}` },
  // Not a parameter, so that the planner can use a partial index.
  escalate_flag: {
    column: "escalate_flag",
    of: (value) => (value === 1 ? sql`escalate_flag = 1` : sql`escalate_flag <> 1`),
  },
  signal_source: { column: "signal_source", of: (value) => sql`signal_source = ${value}` },
  agent_id: { column: "agent_id", of: (value) => sql`agent_id = ${value}` },
  min_score: { column: "signal_score", of: (value) => sql`signal_score >= ${value}::float8` },
  max_score: { column: "signal_score", of: (value) => sql`signal_score <= ${value}::float8` },
}

const NAMES = Object.keys(CONDITIONS) as Name[]

/** A filter with an index on (time, id). */
interface Leading {
  name: Name
  /** The index has only the rows with this value. */
  value?: number
  /** The filters that are tested in the index. */
  has: readonly Name[]
  /** The condition by which the index is read; by default that of the filter. */
  walk?: (value: string) => { condition: SQL; isExact: boolean }
}

/** The filters with an index, most selective first. */
const LEADING: readonly Leading[] = [
  { name: "context_window_id", has: ["signal_source"] },
  { name: "user_id", has: [], walk: userWalk },
  { name: "escalate_flag", value: 1, has: [] },
  { name: "signal_source", has: [] },
]

/** A long `user_id` is found by its hash, and then tested in the row. The lengths name the partial index. */
function userWalk(userId: string): { condition: SQL; isExact: boolean } {
  const length = (operator: string) => sql.raw(`octet_length(user_id) ${operator} ${MAX_INDEXED_BYTES}`)
  return new TextEncoder().encode(userId).length <= MAX_INDEXED_BYTES
    ? { condition: sql`user_id = ${userId} and ${length("<=")}`, isExact: true }
    : {
        condition: sql`hashtextextended(user_id, 0) = hashtextextended(${userId}::text, 0) and ${length(">")}`,
        isExact: false,
      }
}

/** The other columns of the index on only (time, id). */
const WITH_TIME: readonly Name[] = ["context_window_id", "min_score", "max_score", "escalate_flag"]

const conditionOf = (name: Name, filter: SignalFilter) => CONDITIONS[name].of(filter[name] as string | number)

function walkOf(leading: Leading | undefined, filter: SignalFilter) {
  if (leading === undefined) return { condition: undefined, isExact: true }
  return (
    leading.walk?.(String(filter[leading.name])) ?? {
      condition: conditionOf(leading.name, filter),
      isExact: true,
    }
  )
}

/**
 * The signals that pass a filter, newest first: at most `limit` and one more.
 *
 * Reads the index of the leading filter, tests the other filters in the index or in the rows, and reads the
 * rest of a row only for the page. The inner limits prevent any other plan: with an index on another filter
 * it could read millions of rows.
 */
export function searchSignals(filter: SignalFilter, after: Cursor | undefined, limit: number): Search {
  const given = NAMES.filter((name) => filter[name] !== undefined)
  const condition = (name: Name) => conditionOf(name, filter)
  const leading = LEADING.find(
    ({ name, value }) => given.includes(name) && (value === undefined || filter[name] === value),
  )
  const { condition: walks, isExact } = walkOf(leading, filter)
  const others = given.filter((name) => name !== leading?.name || !isExact)
  const range = [
    filter.since !== undefined && sql`time >= ${filter.since}::timestamptz`,
    filter.until !== undefined && sql`time < ${filter.until}::timestamptz`,
    after !== undefined && sql`(time, id) < (${after.time}::timestamptz, ${after.id}::int8)`,
  ].filter((one) => one !== false)
  const walked = [...(walks ? [walks] : []), ...range]
  const where = walked.length > 0 ? sql`where ${and(...walked)}` : sql``
  if (given.length === 0)
    return { steps: undefined, rows: sql`select * from ${signals} ${where}`, bounded: false }

  const rows = sql`
    select signal.* from found, lateral (select * from ${signals} where id = found.id offset 0) as signal`
  const enough = sql`order by time desc, id desc limit ${limit + 1}::int4`
  if (others.length === 0)
    return {
      steps: sql`found as materialized (select time, id from ${signals} ${where} ${enough})`,
      rows,
      bounded: false,
    }

  const inIndex = others.every((name) => (leading?.has ?? WITH_TIME).includes(name))
  const most = inIndex ? MAX_TRIED_IN_INDEX : MAX_TRIED
  const columns = sql.raw(
    [...new Set(["time", "id", ...others.map((name) => CONDITIONS[name].column)])].join(", "),
  )
  // Postgres runs a step only as far as it is read: `tried` ends with the page, unless the page is not full
  // and `reached` continues.
  const steps = sql`
    tried as materialized (
      select ${columns} from ${signals} ${where} order by time desc, id desc limit ${most}::int4
    ), found as materialized (
      select time, id from tried where ${and(...others.map(condition))} ${enough}
    ), reached as (
      select ${utc(sql`time`)} as reached_time, id as reached_id
      from (
        select time, id from tried where (select count(*) from found) <= ${limit}::int4
        order by time desc, id desc limit 1 offset ${most - 1}::int4
      ) as last
    )`
  return { steps, rows, bounded: true }
}
