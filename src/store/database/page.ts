import { type SQL, sql } from "drizzle-orm"

/** The most bytes of a page, which has at least one row. */
export const MAX_PAGE_BYTES = 8 * 1024 * 1024

export interface PageQuery {
  /** Steps before the page, each with its name, for `rows` to read. */
  steps?: SQL | undefined
  /**
   * Whether `steps` has the step `reached`. The columns of its only row, if there is one, are in every row of
   * the answer, or in a row without a signal.
   */
  bounded?: boolean
  /** The rows to page through, `select` and `where` without order. */
  rows: SQL
  /** The columns that order the page, all descending unless `ascending`. An index has this order. */
  order: readonly string[]
  ascending?: true
  limit: number
  /** The most bytes of the page. Default: `MAX_PAGE_BYTES`. */
  maxBytes?: number | undefined
  /** The stored bytes of a row, without reading values that are stored outside of it. */
  storedBytes: SQL
  /** Columns that are costly to compute, so that only rows within the stored bytes have them. */
  spelled?: SQL
  /** The bytes of a row in the answer. */
  sentBytes: SQL
  /** The columns of the answer. */
  select: SQL
}

/**
 * Builds the statement of a page that is limited by rows and by bytes. Each row also has `more`: whether a
 * row follows it.
 *
 * The database decides where the page ends, so that it never sends more. It tests the stored sizes first,
 * since writing a thousand large rows as text to measure them would take seconds.
 */
export function pageStatement(page: PageQuery): SQL {
  const {
    steps,
    bounded,
    rows,
    order: columns,
    ascending,
    limit,
    maxBytes = MAX_PAGE_BYTES,
    storedBytes,
    spelled,
    sentBytes,
    select,
  } = page
  const direction = ascending ? "asc" : "desc"
  const order = sql.raw(columns.map((column) => `${column} ${direction}`).join(", "))
  // With the table's name, since a column of the answer can have the same name.
  const lastOrder = sql.raw(columns.map((column) => `sent.${column} ${direction}`).join(", "))
  const listed = sql`where coalesce(sent_before, 0) < ${maxBytes}::int4`
  return sql`
    with ${steps ? sql`${steps}, ` : sql``}candidate as (
      ${rows} order by ${order} limit ${limit + 1}::int4
    ), stored as (
      select
        *, lead(true) over page is not null as more, row_number() over page as position,
        sum(${storedBytes}) over (page rows between unbounded preceding and 1 preceding) as stored_before
      from candidate
      window page as (order by ${order})
    ), spelled as (
      select *${spelled ? sql`, ${spelled}` : sql``} from stored
      where position <= ${limit}::int4 and coalesce(stored_before, 0) < ${maxBytes}::int4
      -- "offset 0" prevents the planner from computing a row once for each reference.
      order by ${order} offset 0
    ), sent as (
      select *, sum(${sentBytes}) over (order by ${order} rows between unbounded preceding and 1 preceding) as sent_before
      from spelled
    )${
      bounded
        ? sql`, listed as (select ${select}, more, position from sent ${listed})
          select * from (select) as always left join listed on true left join reached on true
          order by position`
        : sql` select ${select}, more from sent ${listed} order by ${lastOrder}`
    }`
}

/** Whether a row follows the last one of a page. */
export const hasNext = (page: readonly { more: boolean }[]): boolean => page.at(-1)?.more ?? false

/** The parts of a list for `pageStatement`. */
export interface Search {
  /** Steps before the page, each with its name. */
  steps: SQL | undefined
  /** The rows of the page, and one more if there is one. */
  rows: SQL
  /** Whether the page also ends after enough tested signals. The step `reached` then has that position. */
  bounded: boolean
}
