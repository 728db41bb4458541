import type { Client } from "pg"
import { StartupError } from "../machine/startup-error.ts"
import { withShortLocks } from "./short-locks.ts"

/** The last migration of the versions before 1.0, as drizzle's journal has it. */
const LAST = {
  createdAt: 1_795_951_200_000,
  hash: "dc59ecf8524c3a609a690a390f78c45f1729b4783cce222ef23d0ddbfda7f2af",
  commit: "59a271e",
}

/** The rows of a step. It commits by itself, in about 50 ms, while the service writes. */
const STEP_ROWS = { signals: 20_000, batches: 5_000, dead_letters: 5_000 }

/**
 * Whether a version before 1.0 made this database, so that it needs `adopt`.
 *
 * @param baseline the time of the first migration of 1.0
 * @throws {StartupError} it is not at the last migration of those versions, or not partitioned
 */
export async function isBeforeBaseline(client: Client, baseline: number): Promise<boolean> {
  if (!(await isTrue(client, "to_regclass('drizzle.__drizzle_migrations') is not null"))) return false
  const { rows } = await client.query<{ hash: string; created_at: string }>(
    "select hash, created_at from drizzle.__drizzle_migrations order by created_at desc limit 1",
  )
  const newest = rows[0]
  if (newest === undefined || Number(newest.created_at) >= baseline) return false
  const isReady =
    Number(newest.created_at) === LAST.createdAt &&
    newest.hash === LAST.hash &&
    (await isTrue(client, "(select relkind = 'p' from pg_class where oid = 'signals'::regclass)")) &&
    (await isTrue(client, "not exists (select from backfills where finished_at is null)"))
  if (!isReady)
    throw new StartupError(
      `This database was made by a version before 1.0, and is not at the last state of those versions. ` +
        `Check out commit ${LAST.commit}, run npm ci, npm run db:migrate and npm run db:partition there, then run this again.`,
    )
  return true
}

/**
 * Brings a database of the last version before 1.0 to the baseline, while that version serves: fills in what
 * its earliest rows lack in steps that commit by themselves, then changes the schema in one short
 * transaction. When it is stopped, the next call continues. Until 1.0 is deployed, the former version's
 * `/readyz` and retention fail.
 *
 * @param baseline the migration that is recorded instead of the former ones
 * @param applyFunctions replaces the SQL functions, in the open transaction
 */
export async function adopt(
  client: Client,
  baseline: { hash: string; createdAt: number },
  applyFunctions: () => Promise<void>,
): Promise<void> {
  // First, so that no later row lacks what the steps fill in.
  const hasDefault = `exists (
    select from pg_attrdef join pg_attribute on attrelid = adrelid and attnum = adnum
    where adrelid = 'batches'::regclass and attname = 'signal_ids')`
  if (!(await isTrue(client, hasDefault)))
    await transaction(client, async () => {
      await client.query("alter table batches alter signal_ids set default ''")
      await applyFunctions()
    })
  await walk(client, "signals", "0", FILL_SIGNALS)
  if (!(await isTrue(client, HAS_SUBJECTS)))
    await withShortLocks(client, () =>
      client.query("alter table dead_letters add column subject_hashes uuid[] not null default '{}'"),
    )
  await client.query(FORMER_SUBJECTS)
  await walk(client, "dead_letters", "0", FILL_DEAD_LETTERS)
  await walk(client, "batches", NIL, FILL_BATCHES)
  for (const [table, column] of NEVER_NULL) await validateNeverNull(client, table, column)
  // Writes that began before the functions were replaced have ended.
  await walk(client, "batches", NIL, FILL_BATCHES)
  await transaction(client, async () => {
    await client.query("lock table batches, signals, dead_letters in access exclusive mode")
    for (const [table, column] of NEVER_NULL)
      await client.query(
        `alter table ${table} alter ${column} set not null, drop constraint ${checkOf(column)}`,
      )
    await client.query("drop table backfills; drop function signal_arrival")
    // The first partition was the table itself once. The service needs privileges on the new table only.
    const { rows } = await client.query<{ names: string }>(
      "select string_agg(quote_ident(name), ', ') as names from signal_partitions",
    )
    if (rows[0]?.names) await client.query(`revoke all on ${rows[0].names} from signal_ingest_writer`)
    await applyFunctions()
    await client.query("delete from drizzle.__drizzle_migrations")
    await client.query("insert into drizzle.__drizzle_migrations (hash, created_at) values ($1, $2)", [
      baseline.hash,
      baseline.createdAt,
    ])
  })
}

/** Drops the indexes that `SIGNAL_INDEXES` replaces. */
export async function dropFormerIndexes(client: Client): Promise<void> {
  for (const name of ["signals_newest_idx", "signals_user_idx"])
    await withShortLocks(client, () => client.query(`drop index if exists ${name}`))
}

const NEVER_NULL = [
  ["batches", "signal_ids"],
  ["signals", "received_at"],
  ["dead_letters", "code"],
] as const

type Table = keyof typeof STEP_ROWS

const NIL = "00000000-0000-0000-0000-000000000000"

const isTrue = async (client: Client, condition: string): Promise<boolean> =>
  (await client.query<{ is: boolean }>(`select ${condition} as is`)).rows[0]?.is === true

const transaction = (client: Client, work: () => Promise<void>): Promise<void> =>
  withShortLocks(client, async () => {
    await client.query("begin")
    try {
      await work()
      await client.query("commit")
    } catch (error) {
      await client.query("rollback").catch(() => {})
      throw error
    }
  })

/** Runs a step from each position to the next, until one is empty. A repeated walk changes nothing. */
async function walk(client: Client, table: Table, start: string, step: string): Promise<void> {
  for (let position = start; ; ) {
    const { rows } = await client.query<{ position: string }>(step, [position, STEP_ROWS[table]])
    if (rows[0] === undefined) return
    position = rows[0].position
  }
}

const checkOf = (column: string) => `${column}_never_null`

/**
 * Adds a check that was validated without a lock on reads and writes. With it, "set not null" reads no row.
 */
async function validateNeverNull(client: Client, table: Table, column: string): Promise<void> {
  const check = checkOf(column)
  if (!(await isTrue(client, `exists (select from pg_constraint where conname = '${check}')`)))
    await withShortLocks(client, () =>
      client.query(`alter table ${table} add constraint ${check} check (${column} is not null) not valid`),
    )
  const { rows } = await client.query<{ name: string }>(
    `select conrelid::regclass::text as name from pg_constraint where conname = $1 and not convalidated
     order by conrelid = $2::regclass, name`,
    [check, table],
  )
  for (const { name } of rows) await client.query(`alter table ${name} validate constraint ${check}`)
}

/** Versions without `received_at` left it null: the row's transaction id, a UUIDv7, has the time. */
const FILL_SIGNALS = `
  with step as materialized (
    select id, received_at is null as lacks from signals where id > $1::int8 order by id limit $2::int4
  ), filled as (
    update signals set received_at =
      to_timestamp(('x' || left(replace(transaction_id::text, '-', ''), 12))::bit(48)::bigint / 1000.0)
    where id = any(array(select id from step where lacks))
  )
  select id as position from step order by id desc limit 1`

/** The code of a failure that a version without codes recorded with its sentence only. */
const codeOf = (sentence: string) => `case
    when ${sentence} like 'refused by the database: %' then 'refused_by_database'
    when ${sentence} like '% must be between 0 and 1' or ${sentence} like '% must be 0 or 1' then 'out_of_range'
    when ${sentence} like '% characters long' then 'wrong_length'
    else 'unreadable_record' end`

const HAS_SUBJECTS = `exists (
  select from pg_attribute where attrelid = 'dead_letters'::regclass and attname = 'subject_hashes'
)`

/**
 * The subjects of a dead letter that was stored without them, as far as its record has them in the fields of
 * a signal, of a Slack event or of a queue's message.
 */
const FORMER_SUBJECTS = `
  create or replace function pg_temp.former_subjects(source text, record text) returns uuid[] language plpgsql as $$
  declare
    named jsonb := record::jsonb;
    rows jsonb;
  begin
    rows := case source
      when 'queue' then jsonb_path_query_array((named #>> '{}')::jsonb, '$.delivery.batch.plan.rows[*]')
      when 'slack' then jsonb_build_array(jsonb_build_object(
        'userId', coalesce(named #> '{event,user}', named #> '{event,message,user}'),
        'agentId', coalesce(named #> '{event,bot_id}', named #> '{event,message,bot_id}', named #> '{event,app_id}'),
        'contextWindowId', (named ->> 'team_id') || '/' || (named #>> '{event,channel}')
      ))
      else (
        select jsonb_build_array(jsonb_build_object(
          'userId', signal -> 'user_id', 'agentId', signal -> 'agent_id', 'contextWindowId', signal -> 'context_window_id'
        )) from (select case when jsonb_typeof(named -> 'value') = 'object' then named -> 'value' else named end as signal) as sent
      ) end;
    return array(
      select distinct subject_hash(kind, subject) from jsonb_array_elements(rows) as element, lateral (values
        ('user_id', element ->> 'userId'), ('agent_id', element ->> 'agentId'), ('context_window_id', element ->> 'contextWindowId')
      ) as named (kind, subject) where subject is not null
    );
  exception when others then
    -- A truncated or unreadable record has no known subject.
    return '{}';
  end $$`

const FILL_DEAD_LETTERS = `
  with step as materialized (
    select id, code is null or subject_hashes = '{}' as lacks from dead_letters where id > $1::int8 order by id limit $2::int4
  ), filled as (
    update dead_letters set
      code = coalesce(code, ${codeOf("reason")}), subject_hashes = pg_temp.former_subjects(source, record)
    where id = any(array(select id from step where lacks))
  )
  select id as position from step order by id desc limit 1`

/**
 * Failures of versions without codes, and ids of versions that did not keep them, or counted a run on across
 * a duplicate. Such ids come from the signals that still exist, the rest count as duplicates.
 */
const FILL_BATCHES = `
  with step as materialized (
    select transaction_id, signal_ids, first_signal_id, last_signal_id, total_count - failed_count as kept,
      jsonb_path_exists(failures, '$[*] ? (!exists(@.code))') as lacks_codes
    from batches where transaction_id > $1::uuid order by transaction_id limit $2::int4
  ), found as materialized (
    select step.*, living.ids from step
    left join lateral (
      select array(
        select id from signals
        where id between first_signal_id and last_signal_id and signals.transaction_id = step.transaction_id order by id
      ) as ids
    ) as living on signal_ids is null or signal_ids ~ '(^|,)0:'
    where lacks_codes or signal_ids is null or signal_ids ~ '(^|,)0:'
  ), known as materialized (
    select *, case when signal_ids is not null and (ids is null or ids <@ array(
      select split_part(run, ':', 1)::bigint + counted
      from string_to_table(signal_ids, ',') as run, generate_series(0, split_part(run, ':', 2)::bigint - 1) as counted
    )) then signal_ids else concat_ws(',', (
      select string_agg(first || ':' || size, ',' order by first) from (
        select min(id) as first, count(*) as size from unnest(ids) with ordinality as own (id, at) group by id - at
      ) as run
    ), '0:' || nullif(greatest(kept - cardinality(ids), 0), 0)) end as all_ids
    from found
  ), filled as (
    update batches set signal_ids = all_ids, failures = (
      select coalesce(jsonb_agg(case
        when failure ? 'code' then failure
        else failure || jsonb_build_object('code', ${codeOf("failure ->> 'error'")}, 'retryable', false)
      end order by at), '[]')
      from jsonb_array_elements(failures) with ordinality as listed (failure, at)
    )
    from known
    where batches.transaction_id = known.transaction_id
      and (lacks_codes or known.signal_ids is distinct from all_ids)
  )
  select transaction_id as position from step order by transaction_id desc limit 1`
