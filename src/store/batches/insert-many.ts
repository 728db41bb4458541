import { type SQL, sql } from "drizzle-orm"
import { Group, type GroupLimits } from "../../isolate/group.ts"
import type { SignalRow } from "../../signals/schema.ts"
import { type Database, NOW, type Traffic } from "../database/connection.ts"
import { DatabaseError } from "../database/errors.ts"
import { batches, signals } from "../database/schema.ts"
import { type DeadLetter, insertLetters } from "../dead-letters/store.ts"
import { isSuppressed, noneSuppressed, orSuppressed, type Suppressed } from "../lifecycle/suppression.ts"
import { type Inserted, type NewBatch, withIds } from "./batch.ts"
import { encodeColumns, SIGNAL_NAMES, takenKeys, typedColumns, WITH_KEY_TAKEN } from "./statement.ts"

/** Larger batches gain nothing, since their rows cost more than the statement. */
const MAX_GROUPED_ROWS = 100

/**
 * One group at a time would not use the time of the round trip; more groups are smaller. Measured at 0 and 5
 * ms of round trip.
 */
const GROUPS_AT_ONCE = 2
const MAX_GROUP_ITEMS = 200
/** The approximate characters of a group's rows. */
const MAX_GROUP_WEIGHT = 1024 * 1024
/** Longer than a healthy database takes. */
const SLOW_GROUP_MS = 250
/** Five full groups. */
const MAX_WAITING = 1000
/** The same as the wait of a statement. */
const MAX_TURN_MS = 1000

const LIMITS: GroupLimits = {
  running: GROUPS_AT_ONCE,
  slowMs: SLOW_GROUP_MS,
  items: MAX_GROUP_ITEMS,
  weight: MAX_GROUP_WEIGHT,
  waiting: MAX_WAITING,
  turnMs: MAX_TURN_MS,
}

/** The groups by the kind of traffic, so that none waits for statements of another kind. */
const groups = new Map<Traffic, Group<BatchWrite, Inserted | Suppressed | "in the ledger">>()

function groupOf(traffic: Traffic) {
  const group = groups.get(traffic) ?? new Group(LIMITS)
  groups.set(traffic, group)
  return group
}

/**
 * Inserts a batch. A small one shares a statement with batches of other requests of this isolate. Each has
 * its own ledger row, ids, keys and answer.
 *
 * @param alone inserts this batch by itself
 * @returns undefined when the ledger already has the batch
 * @throws {DatabaseError} `refused` when the database refused a row of this batch, or of another one in its
 *   group: insert it alone
 */
export async function insertGrouped(
  db: Database,
  write: BatchWrite,
  alone: () => Promise<Inserted | Suppressed | undefined>,
): Promise<Inserted | Suppressed | undefined> {
  const { rows } = write.batch.plan
  if (rows.length > MAX_GROUPED_ROWS) return alone()
  const before = { attempts: db.usage.attempts, at: Date.now() }
  const joining = groupOf(db.traffic).join({
    item: write,
    weight: weightOf(rows),
    answerBy: db.deadlineAt,
    signal: db.usage.attempts === 0 ? db.signal : undefined,
    async run(members) {
      if (members.length === 1) return [(await alone()) ?? "in the ledger"]
      const inserted = await insertMany(db, members)
      return members.map(({ batch }) => inserted.get(batch.transactionId) ?? "in the ledger")
    },
  })
  // The other members need this request's statement, even when its caller disconnects.
  db.keepAlive(joining)
  const joined = await joining.finally(() => noteStatement(db, before))
  if (joined === "no turn") throw new DatabaseError("overloaded", `too many ${db.traffic} in flight`, false)
  if (joined === "no answer") throw new DatabaseError("transient", "no answer from the group", true)
  return joined.result === "in the ledger" ? undefined : joined.result
}

/** Counts a statement that another request sent for this one, which is now a started request. */
function noteStatement({ usage }: Database, before: { attempts: number; at: number }): void {
  if (usage.attempts > before.attempts) return
  usage.attempts++
  usage.ms += Date.now() - before.at
}

/** The characters of a row besides its texts. */
const ROW_WEIGHT = 300

const weightOf = (rows: readonly SignalRow[]) =>
  rows.reduce(
    (sum, { rawContent, payload }) => sum + ROW_WEIGHT + (rawContent?.length ?? 0) + payload.length,
    ROW_WEIGHT,
  )

/** A batch, with the delivered records that cannot become signals. */
export interface BatchWrite {
  batch: NewBatch
  letters: readonly DeadLetter[]
}

/**
 * Inserts the ledger rows, signals and dead letters of batches in one statement, all or nothing.
 *
 * A batch with suppressed rows is not inserted; a second statement inserts the others.
 *
 * @returns the results by transaction id, without batches that the ledger already has, by transaction id or
 *   idempotency key
 * @throws {DatabaseError} nothing was stored, unless it may have run
 */
export async function insertMany(
  db: Database,
  writes: readonly BatchWrite[],
): Promise<Map<string, Inserted | Suppressed>> {
  const distinct = distinctWrites(writes)
  const entered = await orSuppressed(db.query<Entered>(insertStatement(distinct)))
  if (isSuppressed(entered)) return insertOthers(db, distinct, entered)
  const plans = new Map(distinct.map(({ batch }) => [batch.transactionId, batch.plan]))
  return new Map(
    entered.flatMap(({ transaction_id, received_at, ids }) => {
      const plan = plans.get(transaction_id)
      return plan ? [[transaction_id, withIds(plan, received_at, ids)]] : []
    }),
  )
}

interface Entered {
  transaction_id: string
  received_at: string
  ids: string | null
}

/** Each attempt has fewer batches, so this ends. */
async function insertOthers(
  db: Database,
  writes: readonly BatchWrite[],
  { suppressed }: Suppressed,
): Promise<Map<string, Inserted | Suppressed>> {
  const refused = new Map<string, Suppressed>()
  let before = 0
  for (const { batch } of writes) {
    const own = [...suppressed].filter(
      ([place]) => place >= before && place < before + batch.plan.rows.length,
    )
    const from = before
    if (own.length > 0)
      refused.set(batch.transactionId, {
        suppressed: new Map(own.map(([place, field]) => [place - from, field])),
      })
    before += batch.plan.rows.length
  }
  const others = writes.filter(({ batch }) => !refused.has(batch.transactionId))
  return new Map([...refused, ...(others.length > 0 ? await insertMany(db, others) : [])])
}

/**
 * Removes repeated batches: twice the same batch in one statement would be one ledger row with twice the
 * signals.
 */
export const distinctWrites = <Write extends BatchWrite>(writes: readonly Write[]): Write[] => [
  ...new Map(writes.map((write) => [write.batch.transactionId, write])).values(),
]

/**
 * The statement of `writeBatch` for many batches, with the rows of each joined to its ledger row. It returns
 * the new ledger rows, each with the ids of its signals in batch order: "" for a duplicate, or null without
 * signals.
 */
function insertStatement(writes: readonly BatchWrite[]): SQL {
  const written = writes.map(({ batch }) => batch)
  const columns = encodeColumns(written.flatMap(({ plan }) => plan.rows))
  const transactionIds = written.flatMap(({ transactionId, plan }) => plan.rows.map(() => transactionId))
  const mayRepeat = written.some(({ plan }) => plan.rows.some((row) => row.dedupeKey !== null))
  const letters = writes.flatMap((write) => write.letters)
  const list = (values: readonly (string | number | null)[]) => sql.param(values)
  return sql`
    with delivery as (
      select * from unnest(
        ${list(written.map(({ transactionId }) => transactionId))}::uuid[], ${list(written.map(({ caller }) => caller))}::text[],
        ${list(written.map(({ plan }) => plan.total))}::int4[], ${list(written.map(({ plan }) => plan.failures.length))}::int4[],
        ${list(written.map(({ plan }) => JSON.stringify(plan.failures)))}::jsonb[],
        ${list(written.map(({ idempotency }) => idempotency?.key ?? null))}::text[],
        ${list(written.map(({ idempotency }) => idempotency?.requestHash ?? null))}::text[]
      ) as delivery (transaction_id, caller, total_count, failed_count, failures, idempotency_key, request_hash)
    ), input as materialized (
      select nextval('signals_id_seq') as id, signal.*
      from unnest(
        ${typedColumns(columns)}, ${list(transactionIds)}::uuid[]
      ) with ordinality as signal (
        ${SIGNAL_NAMES}, transaction_id, position
      )
    ), ledger as (
      insert into ${batches} (
        transaction_id, caller, state, total_count, failed_count, failures, idempotency_key, request_hash,
        first_signal_id, last_signal_id, signal_ids
      )
      select
        transaction_id, caller, 'stored', total_count, failed_count, failures, idempotency_key, request_hash,
        ids.first, ids.last, ids.runs
      from delivery
      left join (
        select transaction_id, min(first) as first, max(last) as last, string_agg(first || ':' || size, ',' order by first) as runs
        from (
          select transaction_id, min(id) as first, max(id) as last, count(*) as size
          from input group by transaction_id, id - position
        ) as run
        group by transaction_id
      ) as ids using (transaction_id)
      where (select ${noneSuppressed(sql`array_agg(input.transaction_id)`)})
      -- Two statements that share keys or batches take their locks in the same order, so that they can't deadlock.
      order by caller, idempotency_key, transaction_id
      on conflict do nothing
      returning transaction_id
    ), ${mayRepeat ? sql`${takenKeys(sql`input join ledger using (transaction_id)`)}, ` : sql``}stored as (
      insert into ${signals} (
        id, transaction_id, ${SIGNAL_NAMES}
      ) overriding system value
      select
        id, transaction_id, ${SIGNAL_NAMES}
      from input join ledger using (transaction_id)
      ${mayRepeat ? WITH_KEY_TAKEN : sql``}
      returning id
    )${letters.length > 0 ? sql`, kept as (${insertLetters(letters, sql`join ledger using (transaction_id)`)})` : sql``}
    select ledger.transaction_id, ${NOW} as received_at,
      string_agg(coalesce(stored.id::text, ''), ',' order by position) filter (where position is not null) as ids
    from ledger left join input using (transaction_id) left join stored using (id)
    group by ledger.transaction_id`
}
