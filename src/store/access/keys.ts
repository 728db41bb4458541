import { type SQL, sql } from "drizzle-orm"
import { LoggableError } from "../../errors.ts"
import type { Amounts, DayLimits, Lease } from "../../isolate/day-quota.ts"
import { type KeyConflict, MAX_KEYS_OF_NAME, MAX_LIVE_KEYS } from "../../keys/form.ts"
import type { KeyRecord, KeyUsage } from "../../keys/records.ts"
import type { Scope } from "../../signals/rules.ts"
import { type Database, readRows, utc, withRetries } from "../database/connection.ts"
import { apiKeyDays, apiKeys, batches } from "../database/schema.ts"

/** Keys that are made at the same moment can pass the limit by so many. */
const KEYS_BEYOND = 100

/** What identifies the holder of a key that is neither revoked nor expired. */
export interface LiveKey {
  id: string
  name: string
  /** SHA-256 of the key, in hex. */
  sha256: string
  scopes: Scope[]
  /** Milliseconds since the epoch; null when it does not expire. */
  expires: number | null
  limits: DayLimits
}

/** All live keys, with a digest of them. */
export interface LiveKeys {
  stamp: string
  keys: readonly LiveKey[]
}

const LIVE = sql`revoked_at is null and expires_at > now()`

/**
 * Reads all live keys; undefined when they are still those of `stamp`.
 *
 * @throws {DatabaseError}
 */
export async function readLiveKeys(db: Database, stamp?: string): Promise<LiveKeys | undefined> {
  const [found] = await db.query<{ stamp: string; keys: LiveKey[] | null }>(sql`
    with live as (
      select id, name, sha256, scopes, case when isfinite(expires_at)
        then trunc(extract(epoch from expires_at) * 1000)::int8 end as expires,
        json_build_object('signals', signals_per_day, 'bytes', bytes_per_day) as limits
      from ${apiKeys} where ${LIVE} order by id limit ${MAX_LIVE_KEYS + KEYS_BEYOND}::int4
    ), whole as (
      select coalesce(json_agg(live order by id), '[]') as keys from live
    )
    select md5(keys::text) as stamp, case when md5(keys::text) is distinct from ${stamp ?? null} then keys end as keys
    from whole`)
  if (!found) throw new LoggableError("the database answered without the keys")
  return found.keys === null ? undefined : { stamp: found.stamp, keys: found.keys }
}

/** A key to make. */
export interface KeyToMake {
  id: string
  sha256: string
  hint: string
  createdBy: string
  /** ISO 8601; null when it does not expire. */
  expiresAt: string | null
}

/**
 * Makes the first key of a name. A retry under the same id is safe.
 *
 * @throws {DatabaseError} with `mayHaveRun`, the key may have been made
 */
export async function insertKey(
  db: Database,
  key: KeyToMake & { name: string; scopes: readonly Scope[]; limits: DayLimits },
): Promise<KeyRecord | KeyConflict> {
  const scopes = sql`${sql.param(key.scopes)}::text[]`
  const made = await makeKey(
    db,
    key.id,
    sql`
      insert into ${apiKeys} (
        id, name, sha256, hint, scopes, created_by, expires_at, signals_per_day, bytes_per_day
      )
      select ${key.id}::uuid, ${key.name}, ${key.sha256}, ${key.hint}, ${scopes}, ${key.createdBy}, ${expiry(key)},
        ${key.limits.signals}::int8, ${key.limits.bytes}::int8
      where (select count(*) from ${apiKeys} where ${LIVE}) < ${MAX_LIVE_KEYS}::int4
      on conflict do nothing`,
  )
  if (made) return made
  const [taken] = await withRetries(db, () =>
    db.query(sql`select from ${apiKeys} where name = ${key.name} limit 1`),
  )
  return taken ? "name taken" : "too many keys"
}

/**
 * Makes another key for the caller of `former`, which stays valid unless `formerExpiresAt` ends it. A retry
 * under the same id is safe.
 *
 * @throws {DatabaseError} with `mayHaveRun`, the key may have been made
 */
export async function insertRotation(
  db: Database,
  key: KeyToMake & { former: string; formerExpiresAt: string | null },
): Promise<KeyRecord | KeyConflict> {
  const { former, formerExpiresAt } = key
  const made = await makeKey(
    db,
    key.id,
    sql`
      with former as (
        select * from ${apiKeys} where id = ${former}::uuid for update
      ), made as (
        insert into ${apiKeys} (
          id, name, sha256, hint, scopes, created_by, expires_at, rotated_from, signals_per_day, bytes_per_day
        )
        select ${key.id}::uuid, name, ${key.sha256}, ${key.hint}, scopes, ${key.createdBy}, ${expiry(key)}, id,
          signals_per_day, bytes_per_day
        from former
        where (select count(*) from ${apiKeys} where ${LIVE}) < ${MAX_LIVE_KEYS}::int4
          and (select count(*) from ${apiKeys} where ${LIVE} and name = former.name) < ${MAX_KEYS_OF_NAME}::int4
        on conflict do nothing
        returning rotated_from
      )
      update ${apiKeys} set expires_at = least(expires_at, ${formerExpiresAt}::timestamptz)
      where ${formerExpiresAt}::text is not null and id = (select rotated_from from made)`,
  )
  if (made) return made
  const [{ count } = { count: 0 }] = await withRetries(db, () =>
    db.query<{ count: number }>(sql`select count(*)::int4 as count from ${apiKeys} where ${LIVE}`),
  )
  return count < MAX_LIVE_KEYS ? "too many of this name" : "too many keys"
}

const expiry = ({ expiresAt }: KeyToMake) => sql`coalesce(${expiresAt}::timestamptz, 'infinity')`

async function makeKey(db: Database, id: string, statement: SQL): Promise<KeyRecord | undefined> {
  return withRetries(db, async () => {
    await db.query(statement)
    return findKeyOnce(db, id)
  })
}

/**
 * Revokes a key; one that is revoked stays as it is.
 *
 * @returns undefined when there is no such key
 * @throws {DatabaseError} it may be revoked; a retry is safe
 */
export function revokeKey(db: Database, id: string, revokedBy: string): Promise<KeyRecord | undefined> {
  return withRetries(db, async () => {
    await db.query(sql`
      update ${apiKeys} set revoked_at = now(), revoked_by = ${revokedBy}
      where id = ${id}::uuid and revoked_at is null`)
    return findKeyOnce(db, id)
  })
}

/** Notes that a key was used on a day, once for all isolates. Throws `DatabaseError`; a retry is safe. */
export async function noteKeyUse(db: Database, id: string, day: string): Promise<void> {
  await db.query(sql`
    update ${apiKeys} set last_used_on = ${day}::date
    where id = ${id}::uuid and (last_used_on is null or last_used_on < ${day}::date)`)
}

/**
 * Sets what the caller of a key may send in a day, for every key of its name.
 *
 * @returns undefined when there is no such key
 * @throws {DatabaseError} it may be set; a retry is safe
 */
export function limitKeys(
  db: Database,
  id: string,
  { signals, bytes }: DayLimits,
): Promise<KeyRecord | undefined> {
  return withRetries(db, async () => {
    await db.query(sql`
      update ${apiKeys} set signals_per_day = ${signals}::int8, bytes_per_day = ${bytes}::int8
      where name = (select name from ${apiKeys} where id = ${id}::uuid)`)
    return findKeyOnce(db, id)
  })
}

/** Takes a lease. @returns the sums of all leases of the caller on its day */
export async function takeLease(db: Database, { name, day, signals, bytes }: Lease): Promise<Amounts> {
  const [sums] = await db.query<Record<keyof Amounts, string>>(sql`
    insert into ${apiKeyDays} (name, day, signals, bytes)
    values (${name}, ${day}::date, ${signals}::int8, ${bytes}::int8)
    on conflict (day, name) do update set
      signals = ${apiKeyDays}.signals + excluded.signals, bytes = ${apiKeyDays}.bytes + excluded.bytes
    returning signals, bytes`)
  return { signals: Number(sums?.signals), bytes: Number(sums?.bytes) }
}

/** The days that leases are kept. */
const LEASE_DAYS = 7

/** Deletes the leases of past days. @returns how many */
export async function deleteLeases(db: Database): Promise<number> {
  const deleted = await withRetries(db, () =>
    db.query(
      sql`delete from ${apiKeyDays} where day < (now() at time zone 'UTC')::date - ${LEASE_DAYS}::int4 returning 1`,
    ),
  )
  return deleted.length
}

/** The start of a transaction id, a UUIDv7, of an instant in milliseconds since the epoch. */
const firstIdOf = (ms: number) => {
  const digits = ms.toString(16).padStart(12, "0")
  return `${digits.slice(0, 8)}-${digits.slice(8)}-7000-8000-000000000000`
}

const DAY_MS = 24 * 60 * 60 * 1000

/**
 * What a caller sent on each of the last days, today included, by the ledger: the newest day first, days
 * without a batch left out. A batch belongs to the day on which it was accepted.
 *
 * @throws {ReadTooCostly} the ledger has too many batches in these days
 */
export async function usageOf(
  db: Database,
  name: string,
  days: number,
  now: Date,
): Promise<KeyUsage["days"]> {
  const from = Math.floor(now.getTime() / DAY_MS) * DAY_MS - (days - 1) * DAY_MS
  const time = sql`to_timestamp(('x' || substr(replace(transaction_id::text, '-', ''), 1, 12))::bit(48)::int8 / 1000.0)`
  return readRows(
    db,
    sql`
      select to_char(${time} at time zone 'UTC', 'YYYY-MM-DD') as day, count(*)::int4 as batches,
        sum(total_count)::float8 as signals, sum(failed_count)::float8 as failed_signals
      from ${batches} where transaction_id >= ${firstIdOf(from)}::uuid and caller = ${name}
      group by 1 order by 1 desc limit ${days + 1}::int4`,
    ["days"],
  )
}

const RECORD = sql`
  id, name, hint, case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired'
    else 'active' end as state,
  scopes, ${utc(sql`created_at`)} as created_at, created_by,
  ${utc(sql`nullif(expires_at, 'infinity')`)} as expires_at, ${utc(sql`revoked_at`)} as revoked_at, revoked_by,
  rotated_from, last_used_on::text,
  json_build_object('signals_per_day', signals_per_day, 'bytes_per_day', bytes_per_day) as limits`

async function findKeyOnce(db: Database, id: string): Promise<KeyRecord | undefined> {
  const [record] = await db.query<KeyRecord>(sql`select ${RECORD} from ${apiKeys} where id = ${id}::uuid`)
  return record
}

export const findKey = (db: Database, id: string): Promise<KeyRecord | undefined> =>
  withRetries(db, () => findKeyOnce(db, id))

/** Reads a page of keys, newest first, and the cursor of the next page, which is null on the last. */
export async function listKeys(
  db: Database,
  { after, limit }: { after?: string | undefined; limit: number },
): Promise<{ keys: KeyRecord[]; next: string | null }> {
  const older = after === undefined ? sql`` : sql`where id < ${after}::uuid`
  const rows = await withRetries(db, () =>
    db.query<KeyRecord>(
      sql`select ${RECORD} from ${apiKeys} ${older} order by id desc limit ${limit + 1}::int4`,
    ),
  )
  const keys = rows.slice(0, limit)
  return { keys, next: rows.length > limit ? (keys.at(-1)?.id ?? null) : null }
}
