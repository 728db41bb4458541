import type { Client } from "pg"
import { StartupError } from "../startup-error.ts"
import { asMigrator } from "./migrator.ts"
import { codeOf, withShortLocks } from "./short-locks.ts"

/** The result of `partitionSignals`. */
export interface Partitioned {
  /** False when the table was already partitioned. */
  changed: boolean
  /** The longest time that reads and writes of the table waited, in milliseconds. */
  lockedMs: number
}

/**
 * Turns the plain table `signals` into the first partition of a new table with the same name, while the
 * service reads and writes. The service waits only for the last step, a transaction of a few milliseconds,
 * which retries when it does not get its locks soon. When this is stopped, the next call continues.
 *
 * Versions of the service without `dedupe_keys` cannot write to the partitioned table.
 *
 * @param databaseUrl of the owner; Neon's pooled host is replaced by the direct one
 * @throws {StartupError} the table was not changed
 */
export function partitionSignals(databaseUrl: string): Promise<Partitioned> {
  return asMigrator(databaseUrl, "The table signals could not be partitioned", async (client) => {
    if (await isPartitioned(client)) return { changed: false, lockedMs: 0 }
    if (!(await allKeysEntered(client)))
      throw new StartupError(
        "The dedupe_keys of stored signals are not all entered yet. Run npm run db:migrate first.",
      )
    for (let tried = 1; ; tried++) {
      const end = await chooseEnd(client)
      try {
        await client.query(`alter table signals validate constraint ${END}`)
        return { changed: true, lockedMs: await swap(client, end) }
      } catch (error) {
        // The ids reached the chosen end, and a write dropped the constraint.
        if (codeOf(error) !== UNDEFINED_OBJECT || tried === MOST_ENDS) throw error
      }
    }
  })
}

/** Does the same for an empty table. */
export async function partitionNewTable(client: Client): Promise<void> {
  const { rows } = await client.query<{ size: string }>("select signal_partition_rows() as size")
  const end = rows[0]?.size ?? ""
  await client.query(`alter table signals add constraint ${END} check (id < ${end})`)
  await swap(client, end)
}

/** The ends that are chosen before it gives up. Each is at least half a partition ahead. */
const MOST_ENDS = 10

const UNDEFINED_OBJECT = "42704"

/**
 * The constraint with the end of the first partition. With it, Postgres does not scan the rows in the last
 * step.
 */
const END = "signals_first_partition"

async function isPartitioned(client: Client): Promise<boolean> {
  const { rows } = await client.query(
    "select from pg_class where oid = 'signals'::regclass and relkind = 'p'",
  )
  return rows.length > 0
}

async function allKeysEntered(client: Client): Promise<boolean> {
  const { rows } = await client.query(
    "select from backfills where name = 'dedupe_keys' and finished_at is not null",
  )
  return rows.length > 0
}

/**
 * Chooses the end of the first partition: a multiple of a partition's size, at least half a partition ahead,
 * so that the ids do not reach it before the last step. If they do, a write drops the constraint (see
 * `make_signal_partitions`), and a new end is chosen.
 */
async function chooseEnd(client: Client): Promise<string> {
  await withShortLocks(client, () =>
    client.query(`
      do $$
      declare
        chosen_end bigint;
      begin
        if exists (select from pg_constraint where conrelid = 'signals'::regclass and conname = '${END}') then
          return;
        end if;
        -- The end is chosen behind the lock: no write can pass it before the constraint holds.
        lock table signals in access exclusive mode;
        select (last_value + signal_partition_rows() / 2) / signal_partition_rows() * signal_partition_rows() + signal_partition_rows()
        into chosen_end from signals_id_seq;
        execute format('alter table signals add constraint ${END} check (id < %s) not valid', chosen_end);
      exception when duplicate_object then
        null;
      end
      $$`),
  )
  const { rows } = await client.query<{ end: string }>(
    `select substring(pg_get_constraintdef(oid) from '\\d+') as end from pg_constraint
     where conrelid = 'signals'::regclass and conname = $1`,
    [END],
  )
  return rows[0]?.end ?? ""
}

/** @returns the longest time that the table was locked, in milliseconds */
async function swap(client: Client, end: string): Promise<number> {
  let lockedMs = 0
  await withShortLocks(client, async () => {
    const startedAt = Date.now()
    await client.query(swapStatement(end))
    lockedMs = Date.now() - startedAt
  })
  await client.query("analyze signals")
  return lockedMs
}

/** A single statement is one transaction and one round trip, so the network does not prolong the lock. */
const swapStatement = (end: string) => `
  do $$
  declare
    command text;
    commands text[];
    indexes text[];
    next_id bigint;
  begin
    lock table signals in access exclusive mode;
    -- A write that waits for the table may hold the sequence. Give up soon, so that the write can finish.
    perform set_config('lock_timeout', '200ms', true);
    -- Blocks ids for other transactions until the new sequence exists.
    alter sequence signals_id_seq cache 1;
    select last_value + is_called::int into next_id from signals_id_seq;

    select array_agg(format('alter index %I rename to %I', relname, overlay(relname placing 'signals_0' from 1 for 7))),
      array_agg(pg_get_indexdef(indexrelid))
    into commands, indexes
    from pg_index join pg_class on pg_class.oid = indexrelid
    where indrelid = 'signals'::regclass and not indisunique;
    commands := commands || array(
      select format('grant %s%s on %s to %s%s', privilege_type, ' (' || quote_ident(attname) || ')', target,
        coalesce(quote_ident(rolname), 'public'), case when is_grantable then ' with grant option' end)
      from (
        select relacl as acl, relowner as owner, null as attname, 'signals' as target from pg_class where oid = 'signals'::regclass
        union all
        select relacl, relowner, null, 'sequence signals_id_seq' from pg_class where oid = 'signals_id_seq'::regclass
        union all
        select attacl, relowner, attname, 'signals' from pg_attribute join pg_class on pg_class.oid = attrelid
        where attrelid = 'signals'::regclass
      ) as granted, aclexplode(acl) left join pg_roles on pg_roles.oid = grantee
      where grantee <> owner
    );

    drop trigger signals_take_dedupe_key on signals;
    drop function take_dedupe_key();
    drop index signals_dedupe_key_idx;
    alter table signals alter id drop identity;
    alter table signals rename constraint signals_pkey to signals_0_pkey;
    alter table signals rename to signals_0;
    create table signals (
      like signals_0 including defaults including constraints including storage including compression including comments
    ) partition by range (id);
    alter table signals drop constraint ${END};
    alter table signals add constraint signals_pkey primary key (id);
    execute format(
      'alter table signals alter id add generated always as identity (sequence name signals_id_seq start with %s)', next_id);
    foreach command in array commands || indexes loop
      execute command;
    end loop;
    alter table signals attach partition signals_0 for values from (minvalue) to (${end});
    alter table signals_0 drop constraint ${END};
    perform make_signal_partitions();
  end
  $$`
