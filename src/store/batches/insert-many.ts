import { type SQL, sql } from "drizzle-orm"
import { Group, type GroupLimits } from "../../isolate/group.ts"
import type { SignalRow } from "../../signals/schema.ts"
import { SIGNAL_COLUMNS } from "../../signals/schema.ts"
import { type Database, NOW, type Traffic } from "../database/connection.ts"
import { DatabaseError } from "../database/errors.ts"
import { batches, signals } from "../database/schema.ts"
import { type DeadLetter, deadLetterInsert } from "../dead-letters/store.ts"
import { isSuppressed, noneSuppressed, orSuppressed, type Suppressed } from "../lifecycle/suppression.ts"
import { type Inserted, insertedOf, type NewBatch, type NewScores } from "./batch.ts"
import { AFTER_ROWS, changedSignals, deletionsIn, hasChanges } from "./changes.ts"
import { insertedScores, scoresIn, type WrittenScores } from "./scores.ts"
import {
  encodeColumns,
  HELD_KEYS,
  OUTCOME,
  SIGNAL_NAMES,
  takenKeys,
  typedColumns,
  WITH_KEY_TAKEN,
} from "./statement.ts"

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

/**
 * The outcome of a member. `refused`: the database refused a row of this or another member, so nothing of the
 * group was stored.
 */
type Shared = Outcome | "refused"

/** The groups by the kind of traffic, so that none waits for statements of another kind. */
const groups = new Map<Traffic, Group<BatchWrite, Shared>>()

function groupOf(traffic: Traffic) {
  const group = groups.get(traffic) ?? new Group(LIMITS)
  groups.set(traffic, group)
  return group
}

/** How long the batches of a caller are written alone after the database refused one, in milliseconds. */
const ALONE_MS = 10_000
/** The most callers that are remembered. */
const MAX_REFUSED_CALLERS = 1000

/** The time until which the batches of each caller are written alone, in milliseconds since the epoch. */
const aloneUntil = new Map<string, number>()

function noteRefused(caller: string): void {
  const now = Date.now()
  for (const [other, until] of aloneUntil)
    if (until <= now || aloneUntil.size >= MAX_REFUSED_CALLERS) aloneUntil.delete(other)
  aloneUntil.set(caller, now + ALONE_MS)
}

/**
 * Inserts a batch. A small one shares a statement with batches of other requests of this isolate. Each has
 * its own ledger row, ids, keys and answer.
 *
 * When the database refuses a row of a shared statement, each batch of it is inserted alone. The caller of
 * the refused batch then writes alone for a while, so that the batches of others need only one statement.
 *
 * @param alone inserts this batch by itself, and calls `refused` when the database refuses one of its rows
 * @returns undefined when the ledger already has the batch
 * @throws {DatabaseError} nothing was stored, unless it may have run
 */
export async function insertGrouped(
  db: Database,
  write: BatchWrite,
  alone: (refused: () => void) => Promise<Inserted | Suppressed | undefined>,
): Promise<Inserted | Suppressed | undefined> {
  const { caller, plan } = write.batch
  const byItself = () => alone(() => noteRefused(caller))
  if (plan.rows.length > MAX_GROUPED_ROWS || (aloneUntil.get(caller) ?? 0) > Date.now()) return byItself()
  const before = { attempts: db.usage.attempts, at: Date.now() }
  const joining = groupOf(db.traffic).join({
    item: write,
    weight: weightOf(plan.rows),
    answerBy: db.deadlineAt,
    signal: db.usage.attempts === 0 ? db.signal : undefined,
    async run(members): Promise<Shared[]> {
      if (members.length === 1) return [(await byItself()) ?? "in the ledger"]
      return insertMany(db, members).catch((error) => {
        if (error instanceof DatabaseError && error.kind === "refused") return members.map(() => "refused")
        throw error
      })
    },
  })
  // The other members need this request's statement, even when its caller disconnects.
  db.keepAlive(joining)
  const joined = await joining.finally(() => noteStatement(db, before))
  if (joined === "no turn") throw new DatabaseError("overloaded", `too many ${db.traffic} in flight`, false)
  if (joined === "no answer") throw new DatabaseError("transient", "no answer from the group", true)
  if (joined.result === "refused") return byItself()
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
  rows.reduce((sum, row) => sum + ROW_WEIGHT + textLength(row), ROW_WEIGHT)

const textLength = (row: SignalRow): number =>
  SIGNAL_COLUMNS.reduce((sum, { field }) => {
    const value = row[field]
    return typeof value === "string" ? sum + value.length : sum
  }, 0)

/** A batch, with the delivered records that cannot become signals, and the scores among the records. */
export interface BatchWrite {
  batch: NewBatch
  deadLetters: readonly DeadLetter[]
  /** Their ledger row is their own. */
  scores?: NewScores | undefined
}

/**
 * The outcome of a batch in a statement with others. `in the ledger`: it, or another batch with its
 * idempotency key, was entered before.
 */
export type Outcome = Inserted | Suppressed | "in the ledger"

/**
 * Inserts the ledger rows, signals, dead letters, changes and scores of batches in one statement, all or
 * nothing.
 *
 * A batch with suppressed rows is not inserted; a second statement inserts the others.
 *
 * @returns the outcome of each write, in the order of `writes`. Of writes with the same transaction id only
 *   the first is inserted: their plans can differ, so that the outcome of one is not the outcome of another
 * @throws {DatabaseError} nothing was stored, unless it may have run
 */
export async function insertMany(db: Database, writes: readonly BatchWrite[]): Promise<Outcome[]> {
  const distinct = distinctWrites(writes)
  const outcomes = await insertDistinct(db, distinct)
  return writes.map((write) => outcomes.get(write) ?? "in the ledger")
}

async function insertDistinct(
  db: Database,
  writes: readonly BatchWrite[],
): Promise<Map<BatchWrite, Inserted | Suppressed>> {
  const entered = await orSuppressed(db.query<Entered>(insertStatement(writes)))
  if (isSuppressed(entered)) return insertOthers(db, writes, entered)
  const rows = new Map(entered.map((row) => [row.transaction_id, row]))
  return new Map(
    writes.flatMap((write): [BatchWrite, Inserted][] => {
      const { transactionId, plan } = write.batch
      const row = rows.get(transactionId)
      if (!row) return []
      const scored = write.scores && rows.get(write.scores.transactionId)
      const scores = write.scores && scored && insertedScores(write.scores, scored)
      return [[write, { ...insertedOf(plan, row.received_at, row.ids), scores }]]
    }),
  )
}

/** `refusals` only of scores. */
interface Entered extends WrittenScores {
  transaction_id: string
}

/** Each attempt has fewer batches, so this ends. */
async function insertOthers(
  db: Database,
  writes: readonly BatchWrite[],
  { suppressed }: Suppressed,
): Promise<Map<BatchWrite, Inserted | Suppressed>> {
  const refused = new Map<BatchWrite, Suppressed>()
  let before = 0
  for (const write of writes) {
    const from = before
    before += write.batch.plan.rows.length
    const own = [...suppressed].filter(([position]) => position >= from && position < before)
    if (own.length > 0)
      refused.set(write, { suppressed: new Map(own.map(([position, field]) => [position - from, field])) })
  }
  const others = writes.filter((write) => !refused.has(write))
  return new Map([...refused, ...(others.length > 0 ? await insertDistinct(db, others) : [])])
}

/**
 * The first write of each transaction id: twice the same batch in one statement would be one ledger row with
 * twice the signals.
 */
export function distinctWrites<Write extends BatchWrite>(writes: readonly Write[]): Write[] {
  const first = new Map<string, Write>()
  for (const write of writes)
    if (!first.has(write.batch.transactionId)) first.set(write.batch.transactionId, write)
  return [...first.values()]
}

/**
 * The statement of `writeBatch` for many batches, with the rows of each joined to its ledger row. It returns
 * the new ledger rows, each with the outcomes of its signals in batch order (see `insertedOf`), or null
 * without signals.
 */
function insertStatement(writes: readonly BatchWrite[]): SQL {
  const written = writes.map(({ batch }) => batch)
  const transactionIds = written.flatMap(({ transactionId, plan }) => plan.rows.map(() => transactionId))
  const rows = written.flatMap(({ plan }) => plan.rows)
  const columns = encodeColumns(rows)
  const mayRepeat = rows.some((row) => row.dedupeKey !== null)
  const mayChange = written.some(hasChanges)
  const deadLetters = writes.flatMap((write) => write.deadLetters)
  const scores = writes.flatMap((write) => write.scores ?? [])
  const afterRows = sql`(select count(*) from stored) >= 0`
  const scored =
    scores.length > 0 ? sql`, ${scoresIn(scores, { keepsFailed: true, after: afterRows })}` : sql``
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
        ids.first, ids.last, coalesce(ids.runs, '')
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
    ), ${mayRepeat ? sql`${takenKeys(sql`input join ledger using (transaction_id)`, deletionsIn(rows))}, ` : sql``}stored as (
      insert into ${signals} (
        id, transaction_id, ${SIGNAL_NAMES}
      ) overriding system value
      select
        id, transaction_id, ${SIGNAL_NAMES}
      from input join ledger using (transaction_id)
      ${mayRepeat ? WITH_KEY_TAKEN : sql``}
      returning id
    )${deadLetters.length > 0 ? sql`, kept as (${deadLetterInsert(deadLetters, sql`join ledger using (transaction_id)`)})` : sql``}
    ${mayRepeat ? sql`, ${HELD_KEYS}` : sql``}${mayChange ? sql`, ${changedSignals(written, AFTER_ROWS)}` : sql``}${scored}
    select ledger.transaction_id, ${NOW} as received_at,
      string_agg(${mayRepeat ? OUTCOME : sql`id::text`}, ',' order by position) filter (where position is not null) as ids${scores.length > 0 ? sql`, null::jsonb as refusals` : sql``}
    from ledger left join input using (transaction_id) ${mayRepeat ? sql`left join stored using (id) left join held using (dedupe_key)` : sql``}
    ${mayChange ? sql`where (select count(*) from changed) >= 0` : sql``}
    group by ledger.transaction_id
    ${scores.length > 0 ? sql`union all select transaction_id, ${NOW}, ids, refusals from scored` : sql``}`
}
