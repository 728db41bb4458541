import { type SQL, sql } from "drizzle-orm"
import { type Database, readRows } from "../database/connection.ts"
import { batches, dedupeKeys, signals } from "../database/schema.ts"
import { type AuditPart, LISTED_MISMATCHES, type Mismatch } from "./records.ts"

/** Where a part of an audit has come to: the last id, transaction id or hash; "" at its beginning. */
export interface AuditPosition {
  part: AuditPart
  after: string
}

/** What a page of an audit found. */
export interface AuditedPage {
  checked: number
  absent: number
  mismatchCount: number
  mismatches: Mismatch[]
  /** Where the part continues; null at its end. */
  after: string | null
}

/** The signals of the batches of one page, about; a page has at least one batch. */
const MOST_SIGNALS = 20_000

const FIRST = "00000000-0000-0000-0000-000000000000"

interface Row {
  checked: number
  absent: string
  mismatch_count: number
  mismatches: Mismatch[] | null
  after: string | null
}

/**
 * Compares a page of one table with the others, in one statement: all that it reads is of one moment, so that
 * writes meanwhile make no mismatch.
 *
 * @param limit rows of the page
 * @throws {ReadTooCostly} it takes too long: ask for fewer rows
 * @throws {DatabaseError}
 */
export async function auditPage(
  db: Database,
  { part, after }: AuditPosition,
  limit: number,
): Promise<AuditedPage> {
  const [page] = await readRows<Row>(db, STATEMENTS[part](after, limit), ["limit"])
  if (!page) throw new Error("an audit found no page")
  const { checked, absent, mismatch_count, mismatches } = page
  return {
    checked,
    absent: Number(absent),
    mismatchCount: mismatch_count,
    mismatches: mismatches ?? [],
    after: page.after,
  }
}

/**
 * The result of a page, of its steps `step`, with `position`, and `found`, with a kind, a transaction id and
 * a signal's id.
 */
const result = (limit: number, { absent = sql`0` }: { absent?: SQL } = {}): SQL => sql`
  select (select count(*) from step)::int4 as checked, ${absent}::int8 as absent,
    (select count(*) from found)::int4 as mismatch_count,
    (
      select json_agg(json_build_object('kind', kind, 'transaction_id', transaction_id, 'signal_id', signal_id))
      from (select * from found limit ${LISTED_MISMATCHES}::int4) as listed
    ) as mismatches,
    case when (select count(*) from step) = ${limit}::int4 or (select is_cut from cut)
      then (select position::text from step order by step.position desc limit 1) end as after`

/** The step ends only by its limit. */
const NOT_CUT = sql`cut as (select false as is_cut)`

const STATEMENTS: Record<AuditPart, (after: string, limit: number) => SQL> = {
  signals: (after, limit) => sql`
    with step as materialized (
      select id as position, id, transaction_id, dedupe_key from ${signals}
      where id > ${after || "0"}::int8 order by id limit ${limit}::int4
    ), compared as materialized (
      select step.id, step.transaction_id, batch.state, batch.first_signal_id, batch.last_signal_id, step.dedupe_key,
        (select signal_id from ${dedupeKeys} where key_hash = dedupe_key_hash(step.dedupe_key) offset 0) as holder
      from step left join lateral (
        select * from ${batches} where ${batches.transactionId} = step.transaction_id offset 0
      ) as batch on true
    ), found as (
      select 'signal_without_batch' as kind, transaction_id, id as signal_id from compared
      where state is distinct from 'stored'
      union all
      select 'signal_outside_batch', transaction_id, id from compared
      where state = 'stored' and (id between first_signal_id and last_signal_id) is not true
      union all
      select 'signal_without_key', transaction_id, id from compared
      where dedupe_key is not null and holder is distinct from id
    ), ${NOT_CUT}
    ${result(limit)}`,
  batches: (after, limit) => sql`
    with listed as materialized (
      select transaction_id as position, *, sum(total_count) over (order by transaction_id) - total_count as before
      from (
        select * from ${batches} where transaction_id > ${after || FIRST}::uuid
        order by transaction_id limit ${limit}::int4
      ) as page
    ), step as materialized (
      select * from listed where before < ${MOST_SIGNALS}::int8
    ), cut as (
      select (select count(*) from step) < (select count(*) from listed) as is_cut
    ), run as materialized (
      -- A batch with a reason duplicates another one, whose ids it has.
      select transaction_id, kind, reason is null as is_own, nth, split_part(text, ':', 1)::int8 as first, split_part(text, ':', 2)::int8 as size
      from step, lateral unnest(string_to_array(nullif(signal_ids, ''), ',')) with ordinality as one (text, nth)
    ), numbered as materialized (
      select *, lag(first + size) over (partition by transaction_id order by nth) as least
      -- The ids of scores are those of the signals that they are for, in any order.
      from run where first > 0 and kind = 'signals'
    ), ids as materialized (
      select transaction_id, sum(size) as size from run group by transaction_id
    ), compared as materialized (
      select step.transaction_id, state, total_count, failed_count, jsonb_array_length(failures) as listed_failures,
        coalesce(ids.size, 0) as ids, (
          select count(*) from ${signals} where id between first_signal_id and last_signal_id
            and ${signals.transactionId} = step.transaction_id offset 0
        ) as in_range, (
          select coalesce(sum((
            select count(*) from ${signals} where id >= first and id < first + size
              and ${signals.transactionId} = numbered.transaction_id offset 0
          )), 0) from numbered where numbered.transaction_id = step.transaction_id
        ) as in_runs
      from step left join ids using (transaction_id)
    ), found as (
      select 'batch_counts' as kind, transaction_id, null::int8 as signal_id from compared
      where (state = 'stored' and (failed_count <> listed_failures or ids <> total_count - failed_count))
        or (state = 'failed' and (failed_count <> total_count or ids <> 0 or listed_failures > total_count))
      union all
      select distinct 'batch_ids', numbered.transaction_id, null::int8 from numbered
      join step using (transaction_id)
      where size < 1 or first < least
        or (first >= first_signal_id and first + size - 1 <= last_signal_id) is not true
      union all
      select 'batch_rows', transaction_id, null::int8 from compared where in_range <> in_runs
    )
    ${result(limit, {
      absent: sql`(
        (select coalesce(sum(size), 0) from numbered where is_own)
        - (select coalesce(sum(in_runs), 0) from compared)
      )`,
    })}`,
  keys: (after, limit) => sql`
    with step as materialized (
      select key_hash as position, * from ${dedupeKeys}
      where key_hash > ${after || FIRST}::uuid order by key_hash limit ${limit}::int4
    ), found as (
      select 'key_of_another_signal' as kind, signal.transaction_id, signal.id as signal_id
      from step, lateral (select * from ${signals} where ${signals.id} = step.signal_id offset 0) as signal
      where dedupe_key is null or dedupe_key_hash(dedupe_key) <> key_hash
    ), ${NOT_CUT}
    ${result(limit)}`,
}
