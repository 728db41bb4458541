import { type SQL, sql } from "drizzle-orm"
import { LoggableError } from "../../errors.ts"
import { type KeyConflict, MAX_KEYS_OF_NAME, MAX_LIVE_KEYS } from "../../keys/form.ts"
import type { KeyRecord } from "../../keys/records.ts"
import type { Scope } from "../../signals/rules.ts"
import { type Database, utc, withRetries } from "../database/connection.ts"
import { apiKeys } from "../database/schema.ts"

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
        then trunc(extract(epoch from expires_at) * 1000)::int8 end as expires
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
  key: KeyToMake & { name: string; scopes: readonly Scope[] },
): Promise<KeyRecord | KeyConflict> {
  const scopes = sql`${sql.param(key.scopes)}::text[]`
  const made = await makeKey(
    db,
    key.id,
    sql`
      insert into ${apiKeys} (id, name, sha256, hint, scopes, created_by, expires_at)
      select ${key.id}::uuid, ${key.name}, ${key.sha256}, ${key.hint}, ${scopes}, ${key.createdBy}, ${expiry(key)}
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
        insert into ${apiKeys} (id, name, sha256, hint, scopes, created_by, expires_at, rotated_from)
        select ${key.id}::uuid, name, ${key.sha256}, ${key.hint}, scopes, ${key.createdBy}, ${expiry(key)}, id
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

const RECORD = sql`
  id, name, hint, case when revoked_at is not null then 'revoked' when expires_at <= now() then 'expired'
    else 'active' end as state,
  scopes, ${utc(sql`created_at`)} as created_at, created_by,
  ${utc(sql`nullif(expires_at, 'infinity')`)} as expires_at, ${utc(sql`revoked_at`)} as revoked_at, revoked_by,
  rotated_from, last_used_on::text`

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
