import { type SQL, sql } from "drizzle-orm"
import type { DeliveryAttempt, Format, SubscriptionFilter } from "../../subscriptions/schema.ts"
import { MAX_ANSWERS } from "../../subscriptions/schema.ts"
import { type Database, withRetries } from "../database/connection.ts"
import { batches, subscriptions } from "../database/schema.ts"
import type { FeedPosition } from "../signals/feed.ts"

/** Which subscriptions a worker takes: those whose receivers answer at once, or the others. */
export type Lane = "quick" | "slow"

/** A subscription that one worker serves, until its lease ends. */
export interface ClaimedSubscription {
  id: string
  /** Names the lease. Each statement of the worker needs it. */
  lease: string
  name: string
  format: Format
  filter: SubscriptionFilter
  sealedUrl: string
  /** Sealed; there are two during a rotation. */
  sealedSecrets: string[]
  position: FeedPosition
  /** The end of the range of a call whose answer was not saved. */
  pending: FeedPosition | null
  failedAttempts: number
  failingSinceMs: number | null
}

/** Longer than a call and the statements around it. */
const LEASE = sql.raw("interval '60 seconds'")

interface Row {
  id: string
  name: string
  format: Format
  filter: SubscriptionFilter
  url: string
  secret: string
  former: string | null
  position_xid: string
  position_transaction_id: string
  position_id: string | null
  pending: FeedPosition | null
  failed_attempts: number
  failing_since_ms: number | null
}

/**
 * Takes the subscription that has waited longest among those that have something to do; undefined when none
 * has. One statement both looks and takes, so that two workers never serve the same one.
 */
export async function claimSubscription(db: Database, lane: Lane): Promise<ClaimedSubscription | undefined> {
  const lease = crypto.randomUUID()
  const [row] = await withRetries(db, () => db.query<Row>(claim(lease, lane)))
  if (!row) return undefined
  const { id, name, format, filter, pending } = row
  return {
    ...{ id, lease, name, format, filter, pending },
    sealedUrl: row.url,
    sealedSecrets: row.former === null ? [row.secret] : [row.secret, row.former],
    position: {
      xid: row.position_xid,
      transactionId: row.position_transaction_id,
      id: row.position_id === null ? null : Number(row.position_id),
    },
    failedAttempts: row.failed_attempts,
    failingSinceMs: row.failing_since_ms,
  }
}

/** A position that the server has not given out yet is taken, too: reading from it says so. */
const claim = (lease: string, lane: Lane): SQL => sql`
  with newest as (
    select xid, transaction_id from ${batches} where xid < pg_snapshot_xmin(pg_current_snapshot())
    order by ${batches.xid} desc, transaction_id desc limit 1
  ), due as (
    select id from ${subscriptions}
    where lease = ${lease}::uuid or state = 'active' and is_quick = ${lane === "quick"}::bool
      and (lease_until is null or lease_until <= now()) and (next_attempt_at is null or next_attempt_at <= now())
      and (
        pending is not null or position_id is not null
        or (position_xid, position_transaction_id) < (select xid, transaction_id from newest)
        or position_xid >= pg_snapshot_xmax(pg_current_snapshot())
      )
    -- First the one that a former attempt of this statement took, if its answer was lost.
    order by coalesce(lease = ${lease}::uuid, false) desc, lease_until nulls first limit 1
    for update skip locked
  )
  update ${subscriptions} set lease = ${lease}::uuid, lease_until = now() + ${LEASE}
  from due where subscriptions.id = due.id
  returning
    subscriptions.id, name, format, filter, url, secret,
    case when previous_secret_until > now() then previous_secret end as former,
    position_xid::text as position_xid, position_transaction_id, position_id, pending,
    failed_attempts, (extract(epoch from failing_since) * 1000)::float8 as failing_since_ms`

const HELD = ({ id, lease }: Pick<ClaimedSubscription, "id" | "lease">): SQL =>
  sql`id = ${id}::uuid and lease = ${lease}::uuid`

/**
 * Saves the range of a call before it is sent, so that every later attempt has the same range, whatever ends
 * this one.
 *
 * @returns false when the lease has ended: the call must not be sent
 */
export async function savePending(
  db: Database,
  claimed: ClaimedSubscription,
  end: FeedPosition,
): Promise<boolean> {
  const saved = await withRetries(db, () =>
    db.query(sql`
      update ${subscriptions} set pending = ${JSON.stringify(end)}::jsonb, lease_until = now() + ${LEASE}
      where ${HELD(claimed)} and lease_until > now() and state = 'active'
      returning id`),
  )
  return saved.length > 0
}

const isAccepted = (pauseMs: number) => sql`failed_attempts = 0, failing_since = null,
  next_attempt_at = ${pauseMs === 0 ? sql`null` : sql`now() + make_interval(secs => ${pauseMs / 1000}::float8)`}`

const answered = (attempt: DeliveryAttempt): SQL => sql`(
    select jsonb_agg(answer order by number) from (
      select answer, number from jsonb_array_elements(${JSON.stringify([attempt])}::jsonb || answers)
        with ordinality as listed (answer, number) limit ${MAX_ANSWERS}::int4
    ) as newest
  )`

/** What a part of the feed came to. */
export interface Passed {
  /** The position behind it. */
  to: FeedPosition
  /** The call that was accepted; undefined when the part had nothing to send. */
  accepted: { attempt: DeliveryAttempt; isQuick: boolean; pauseMs: number } | undefined
}

/**
 * Moves a subscription past a part of the feed. Moves it once, also when the statement is repeated.
 *
 * @returns false when the lease is another's now, or the position has been moved: serve it no longer
 */
export async function passSubscription(
  db: Database,
  claimed: ClaimedSubscription,
  { to, accepted }: Passed,
): Promise<boolean> {
  const { position: from } = claimed
  const saved = await withRetries(db, () =>
    db.query<{ is_there: boolean }>(sql`
      with moved as (
        update ${subscriptions} set
          position_xid = ${to.xid}::xid8, position_transaction_id = ${to.transactionId}::uuid, position_id = ${to.id}::int8,
          pending = null, lease_until = now() + ${LEASE}
          ${
            accepted
              ? sql`, ${isAccepted(accepted.pauseMs)}, is_quick = ${accepted.isQuick}::bool, answers = ${answered(accepted.attempt)},
                  delivered_signals = delivered_signals + ${accepted.attempt.signals}::int4`
              : sql``
          }
        where ${HELD(claimed)} and position_xid = ${from.xid}::xid8 and position_transaction_id = ${from.transactionId}::uuid
          and position_id is not distinct from ${from.id}::int8
        returning id
      )
      select true as is_there from moved
      union all
      -- A former attempt of this statement moved it.
      select true from ${subscriptions}
      where ${HELD(claimed)} and position_xid = ${to.xid}::xid8 and position_transaction_id = ${to.transactionId}::uuid
        and position_id is not distinct from ${to.id}::int8`),
  )
  return saved.length > 0
}

/** What a call that was not accepted leads to. */
export interface Failed {
  attempt: DeliveryAttempt
  /** Null: it is disabled. */
  waitMs: number | null
}

/** Saves a failure, and ends the lease. Its range stays, for the next attempt. */
export async function failSubscription(
  db: Database,
  claimed: ClaimedSubscription,
  { attempt, waitMs }: Failed,
): Promise<void> {
  await withRetries(db, () =>
    db.query(sql`
      update ${subscriptions} set
        ${waitMs === null ? sql`state = 'disabled', next_attempt_at = null` : sql`next_attempt_at = now() + make_interval(secs => ${waitMs / 1000}::float8)`},
        failed_attempts = ${claimed.failedAttempts + 1}::int4, failing_since = coalesce(failing_since, now()),
        is_quick = false, answers = ${answered(attempt)}, lease = null, lease_until = now()
      where ${HELD(claimed)}`),
  )
}

/** Ends a lease. Where that fails, it ends by itself. */
export async function releaseSubscription(db: Database, claimed: ClaimedSubscription): Promise<void> {
  await withRetries(db, () =>
    db.query(sql`update ${subscriptions} set lease = null, lease_until = now() where ${HELD(claimed)}`),
  )
}

/** Whether a signal passes a filter, as a condition on a row of `signals`. */
export function filterCondition(filter: SubscriptionFilter): SQL {
  const { escalate_flag, min_score, max_score, max_age_seconds, ...equal } = filter
  const conditions: SQL[] = [
    ...(escalate_flag === undefined ? [] : [sql`escalate_flag = ${escalate_flag}::int2`]),
    ...(min_score === undefined ? [] : [sql`signal_score >= ${min_score}::float8`]),
    ...(max_score === undefined ? [] : [sql`signal_score <= ${max_score}::float8`]),
    ...(max_age_seconds === undefined
      ? []
      : [sql`"time" >= received_at - make_interval(secs => ${max_age_seconds}::float8)`]),
    ...Object.entries(equal).map(([column, value]) => sql`${sql.identifier(column)} = ${value}`),
  ]
  return conditions.length === 0 ? sql`true` : sql.join(conditions, sql` and `)
}
