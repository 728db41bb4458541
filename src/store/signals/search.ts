import { and, type SQL, sql } from "drizzle-orm"
import { utc } from "../database/connection.ts"
import type { Search } from "../database/page.ts"
import { MAX_INDEXED_BYTES, signals } from "../database/schema.ts"

/** The position of a signal in a list, newest first. */
export interface Cursor {
  time: string
  id: number
}

/** A filter by one value of the payload. */
export interface PayloadCondition {
  /** Keys of objects; a whole number is also the index of an array's element. */
  path: string[]
  /** The JSON values that match, as JSON texts. */
  values: string[]
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
  /** Text within `raw_content`, whatever the case of its letters. */
  q?: string | undefined
  /** Values of the payload, all of which must match. */
  payload?: readonly PayloadCondition[] | undefined
}

/**
 * The signals of a page that are tested against filters without an index: about 20 ms. The page ends after
 * them, and its cursor continues. If the index also has the filter, a test costs a tenth.
 */
export const MAX_TRIED = 5_000
export const MAX_TRIED_IN_INDEX = 50_000

/**
 * The bytes of texts and payloads after which a page ends. One text can have a megabyte.
 */
export const MAX_TESTED_BYTES = 4 * 1024 * 1024

type Name = Exclude<keyof SignalFilter, "since" | "until" | "q" | "payload">

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

/** The test of a value that may be long, and the bytes that it reads, known without reading them. */
interface LongTest {
  column: string
  passes: SQL
  bytes: SQL
}

/** A compressed payload is about that many times larger when it is read. */
const UNPACKED = 16

const PAYLOAD_BYTES = sql`coalesce(pg_column_size(payload), 0)
  * case when pg_column_compression(payload) is null then 1
    else ${sql.raw(`${UNPACKED}`)} end`

/** No pattern, so that every character of the caller's is itself. `octet_length` reads no text. */
const longTests = ({ q, payload = [] }: SignalFilter): LongTest[] => [
  ...(q === undefined
    ? []
    : [
        {
          column: "raw_content",
          passes: sql`strpos(lower(raw_content), lower(${q}::text)) > 0`,
          bytes: sql`coalesce(octet_length(raw_content), 0)`,
        },
      ]),
  ...payload.map(({ path, values }) => ({
    column: "payload",
    // A value contains itself, and an array its elements. Numbers are compared as numeric.
    passes: sql`(payload #> ${sql.param(path)}::text[]) @> any(${sql.param(values)}::text[]::jsonb[])`,
    bytes: PAYLOAD_BYTES,
  })),
]

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
  const long = longTests(filter)
  if (given.length === 0 && long.length === 0)
    return { steps: undefined, rows: sql`select * from ${signals} ${where}`, bounded: false }

  const rows = sql`
    select signal.* from found, lateral (select * from ${signals} where id = found.id offset 0) as signal`
  const enough = sql`order by time desc, id desc limit ${limit + 1}::int4`
  if (long.length > 0)
    return {
      steps: longSteps({ where, others: others.map(condition), long, enough, limit }),
      rows,
      bounded: true,
    }
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

/**
 * The steps with tests of long values: after the tests without an index, and only as far as the bytes reach.
 * They test one signal at least.
 */
function longSteps({
  where,
  others,
  long,
  enough,
  limit,
}: {
  where: SQL
  others: SQL[]
  long: LongTest[]
  enough: SQL
  limit: number
}): SQL {
  const columns = sql.raw([...new Set(long.map(({ column }) => column))].join(", "))
  const bytes = sql.join(
    long.map((test) => test.bytes),
    sql` + `,
  )
  return sql`
    tried as materialized (
      -- A case expression tests in this order.
      select time, id, tested, case when tested and others then ${and(...long.map(({ passes }) => passes))} end as passes
      from (
        select *, coalesce(sum(bytes) over (order by time desc, id desc rows between unbounded preceding and 1 preceding), 0) < ${MAX_TESTED_BYTES}::int8 as tested
        from (
          select time, id, ${columns}, others, case when others then ${bytes} else 0 end as bytes
          from ${signals}, lateral (select coalesce(${and(sql`true`, ...others)}, false) as others) as cheap
          ${where} order by time desc, id desc limit ${MAX_TRIED}::int4
        ) as walked
      ) as weighed order by time desc, id desc
    ), found as materialized (
      select time, id from tried where passes ${enough}
    ), reached as (
      select ${utc(sql`time`)} as reached_time, id as reached_id
      from (
        select time, id, tested, lead(tested) over tests as next_tested, row_number() over tests as nth
        from tried where (select count(*) from found) <= ${limit}::int4 window tests as (order by time desc, id desc)
      ) as walked
      -- The last tested one, unless it is the last of all.
      where tested and (next_tested is false or nth = ${MAX_TRIED}::int4)
    )`
}
