import { type SQL, sql } from "drizzle-orm"
import type {
  DeliveryAttempt,
  Format,
  SubscriptionFilter,
  SubscriptionRecord,
} from "../../subscriptions/schema.ts"
import { MAX_SUBSCRIPTIONS } from "../../subscriptions/schema.ts"
import { type Database, utc, withRetries } from "../database/connection.ts"
import { DatabaseError, NameTaken, TooManySubscriptions } from "../database/errors.ts"
import { batches, subscriptions } from "../database/schema.ts"
import { type FeedPosition, OLDEST } from "../signals/feed.ts"

/** A subscription as it is stored: its address and its secrets are sealed. */
export interface StoredSubscription extends Omit<SubscriptionRecord, "url"> {
  sealedUrl: string
  sealedSecrets: string[]
}

/** A subscription to create. */
export interface NewSubscription {
  id: string
  createdBy: string
  name: string
  format: Format
  filter: SubscriptionFilter
  /** Sealed, as the secret. */
  url: string
  secret: string
}

const LAG = sql`coalesce((
  select greatest(0, extract(epoch from clock_timestamp() - batch.created_at)) from ${batches} as batch
  where (xid, transaction_id) >= (position_xid, position_transaction_id)
    and ((xid, transaction_id) > (position_xid, position_transaction_id) or position_id is not null)
  order by xid, transaction_id limit 1
), 0)::float8`

const HAS_FORMER = sql`coalesce(previous_secret_until > now(), false)`

const RECORD = sql`
  id, name, url as sealed_url, secret as sealed_secret, format, filter, state, ${utc(sql`created_at`)} as created_at, created_by,
  ${LAG} as lag_seconds, delivered_signals, failed_attempts, ${utc(sql`failing_since`)} as failing_since,
  ${utc(sql`next_attempt_at`)} as next_attempt_at, answers as last_answers,
  case when ${HAS_FORMER} then ${utc(sql`previous_secret_until`)} end as previous_secret_until,
  case when ${HAS_FORMER} then previous_secret end as sealed_former`

interface Row extends Omit<StoredSubscription, "sealedUrl" | "sealedSecrets" | "delivered_signals"> {
  sealed_url: string
  sealed_secret: string
  sealed_former: string | null
  delivered_signals: string
  last_answers: DeliveryAttempt[]
}

const recordOf = ({ sealed_url, sealed_secret, sealed_former, ...row }: Row): StoredSubscription => ({
  ...row,
  delivered_signals: Number(row.delivered_signals),
  sealedUrl: sealed_url,
  sealedSecrets: sealed_former === null ? [sealed_secret] : [sealed_secret, sealed_former],
})

/** How often a slot may be lost to another request that creates a subscription at the same time. */
const MAX_TRIES = 5

/**
 * Creates a subscription that begins after the newest signal.
 *
 * @throws {NameTaken}
 * @throws {TooManySubscriptions}
 * @throws {DatabaseError} it may be created
 */
export async function createSubscription(db: Database, made: NewSubscription): Promise<StoredSubscription> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    await withRetries(db, () => db.query(insertion(made)))
    const [found] = await withRetries(db, () =>
      db.query<{ is_taken: boolean; count: number }>(sql`
        select exists (select from ${subscriptions} where name = ${made.name} and id <> ${made.id}::uuid) as is_taken,
          count(*)::int4 as count
        from ${subscriptions}`),
    )
    const created = await findSubscription(db, made.id)
    if (created) return created
    if (found?.is_taken) throw new NameTaken()
    if ((found?.count ?? 0) >= MAX_SUBSCRIPTIONS) throw new TooManySubscriptions()
  }
  throw new DatabaseError("transient", "no free slot", false)
}

/** Does nothing when it is there already, and when its name or its slot is taken. */
const insertion = ({ id, createdBy, name, format, filter, url, secret }: NewSubscription): SQL => sql`
  with newest as (
    select xid, transaction_id from ${batches} where xid < pg_snapshot_xmin(pg_current_snapshot())
    order by ${batches.xid} desc, transaction_id desc limit 1
  ), free as (
    select min(number)::int2 as slot from generate_series(1, ${MAX_SUBSCRIPTIONS}::int4) as number
    where number not in (select slot from ${subscriptions})
  )
  insert into ${subscriptions} (
    id, created_by, name, slot, format, filter, url, secret, position_xid, position_transaction_id
  )
  select ${id}::uuid, ${createdBy}, ${name}, slot, ${format}, ${JSON.stringify(filter)}::jsonb, ${url}, ${secret},
    coalesce((select xid from newest), ${OLDEST.xid}::xid8),
    coalesce((select transaction_id from newest), ${OLDEST.transactionId}::uuid)
  from free where slot is not null
  on conflict do nothing`

export async function findSubscription(db: Database, id: string): Promise<StoredSubscription | undefined> {
  const [row] = await withRetries(db, () =>
    db.query<Row>(sql`select ${RECORD} from ${subscriptions} where id = ${id}::uuid`),
  )
  return row && recordOf(row)
}

/** Every subscription, by name. */
export async function listSubscriptions(db: Database): Promise<StoredSubscription[]> {
  const rows = await withRetries(db, () =>
    db.query<Row>(sql`select ${RECORD} from ${subscriptions} order by name`),
  )
  return rows.map(recordOf)
}

/** Whether a subscription is active: whether there is any work. */
export async function hasActive(db: Database): Promise<boolean> {
  const [row] = await db.query<{ found: boolean }>(
    sql`select exists (select from ${subscriptions} where state = 'active') as found`,
  )
  return row?.found ?? false
}

/** What to change; what is undefined stays. */
export interface SubscriptionChanges {
  name?: string | undefined
  /** Sealed. */
  url?: string | undefined
  filter?: SubscriptionFilter | undefined
  state?: "active" | "paused" | undefined
}

/**
 * Changes a subscription. One that gets another address, or is resumed, is tried at once.
 *
 * @returns undefined when there is none
 * @throws {NameTaken} nothing was changed
 */
export async function changeSubscription(
  db: Database,
  id: string,
  { name, url, filter, state }: SubscriptionChanges,
): Promise<StoredSubscription | undefined> {
  const starts = url !== undefined || state === "active"
  const text = filter && JSON.stringify(filter)
  try {
    const [row] = await withRetries(db, () =>
      db.query<Row>(sql`
        update ${subscriptions} set
          name = coalesce(${name ?? null}, name), url = coalesce(${url ?? null}, url),
          filter = coalesce(${text ?? null}::jsonb, filter), state = coalesce(${state ?? null}, state)
          ${starts ? sql`, failed_attempts = 0, failing_since = null, next_attempt_at = null, is_quick = true` : sql``}
        where id = ${id}::uuid
        returning ${RECORD}`),
    )
    return row && recordOf(row)
  } catch (error) {
    if (error instanceof DatabaseError && error.reason.startsWith("23505")) throw new NameTaken()
    throw error
  }
}

/**
 * Gives a subscription a new secret; the former one also signs for a time.
 *
 * @param secret sealed
 * @returns undefined when there is none
 */
export async function replaceSecret(
  db: Database,
  id: string,
  { secret, overlapSeconds }: { secret: string; overlapSeconds: number },
): Promise<StoredSubscription | undefined> {
  // Repeated after a lost answer, it must not make the new secret the former one.
  const [row] = await withRetries(db, () =>
    db.query<Row>(sql`
      update ${subscriptions} set
        previous_secret = case when secret = ${secret} then previous_secret else secret end,
        previous_secret_until = now() + make_interval(secs => ${overlapSeconds}::float8),
        secret = ${secret}
      where id = ${id}::uuid
      returning ${RECORD}`),
  )
  return row && recordOf(row)
}

/**
 * Moves a subscription to a position, from which it continues at once. The answer to a call that is under way
 * changes nothing any more.
 *
 * @returns undefined when there is none
 */
export async function moveSubscription(
  db: Database,
  id: string,
  { xid, transactionId, id: signalId }: FeedPosition,
): Promise<StoredSubscription | undefined> {
  const [row] = await withRetries(db, () =>
    db.query<Row>(sql`
      update ${subscriptions} set
        position_xid = ${xid}::xid8, position_transaction_id = ${transactionId}::uuid, position_id = ${signalId}::int8,
        pending = null, next_attempt_at = null, lease = case when lease is not null then gen_random_uuid() end
      where id = ${id}::uuid
      returning ${RECORD}`),
  )
  return row && recordOf(row)
}

/** The sealed texts of a subscription: its address, its secret, and the former one during a rotation. */
export interface SealedTexts {
  id: string
  url: string
  secret: string
  former: string | null
}

/** The sealed texts of every subscription: at most 100. */
export const listSealed = (db: Database): Promise<SealedTexts[]> =>
  withRetries(db, () =>
    db.query<SealedTexts>(
      sql`select id, url, secret, previous_secret as former from ${subscriptions} order by id`,
    ),
  )

/**
 * Replaces the sealed texts of a subscription. One that was changed in the meantime stays as it is.
 *
 * @returns whether they were replaced
 */
export async function replaceSealed(db: Database, from: SealedTexts, to: SealedTexts): Promise<boolean> {
  const replaced = await withRetries(db, () =>
    db.query(sql`
      update ${subscriptions} set
        url = case when url = ${from.url} then ${to.url} else url end,
        secret = case when secret = ${from.secret} then ${to.secret} else secret end,
        previous_secret = case when previous_secret = ${from.former} then ${to.former} else previous_secret end
      where id = ${from.id}::uuid
      returning id`),
  )
  return replaced.length > 0
}

/** Deletes a subscription. @returns what it was; undefined when there was none */
export async function deleteSubscription(db: Database, id: string): Promise<StoredSubscription | undefined> {
  const found = await findSubscription(db, id)
  if (found) await withRetries(db, () => db.query(sql`delete from ${subscriptions} where id = ${id}::uuid`))
  return found
}
