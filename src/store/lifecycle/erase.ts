import { type SQL, sql } from "drizzle-orm"
import { type Database, utc } from "../database/connection.ts"
import { batches, deadLetters, erasures, signals, suppressions } from "../database/schema.ts"
import type { ErasureTarget } from "./erasures.ts"

/** The pause between checks of the transactions that an erasure waits for. */
const RECHECK_MS = 250

/**
 * Continues the work of an erasure in the database, step by step, until `untilMs`. It can be interrupted at
 * any moment: the next call continues after the last committed step.
 *
 * @param untilMs the time after which no step starts, in milliseconds since the epoch
 * @param beforeDeadLetters called before each step that handles dead letters
 * @returns the progress; undefined when there is no such erasure, when it is not done in time, and when
 *   another process works on it
 * @throws {DatabaseError} earlier steps are done
 */
export async function eraseStored(
  db: Database,
  id: string,
  {
    untilMs,
    beforeDeadLetters,
  }: { untilMs: number; beforeDeadLetters: (progress: Progress) => Promise<void> },
): Promise<Progress | undefined> {
  while (Date.now() < untilMs) {
    const progress = await readProgress(db, id)
    if (!progress || progress.phase === "bucket" || progress.phase === "done") return progress
    if (progress.phase === "dead_letters") await beforeDeadLetters(progress)
    if (await eraseStep(db, progress)) continue
    if (progress.phase !== "wait") return undefined
    await new Promise((resolve) => setTimeout(resolve, RECHECK_MS))
  }
}

/** The text that replaces a ledger text that quoted an erased subject. */
const ERASED_TEXT = "Removed by an erasure."

export async function readProgress(db: Database, id: string): Promise<Progress | undefined> {
  const [row] = await db.query<{
    phase: Phase
    position: string
    kind: string
    subject: string | null
    ids: string | null
    suppress: boolean
    at: string
  }>(
    sql`select phase, position, kind, suppress, subject, array_to_string(signal_ids, ',') as ids, ${utc(sql`created_at`)} as at from ${erasures} where id = ${id}::uuid`,
  )
  if (!row) return undefined
  const { phase, position, kind, subject, ids, suppress, at } = row
  const signalIds = ids?.split(",").map(Number)
  const target =
    subject !== null
      ? ({ kind, subject } as ErasureTarget)
      : signalIds && { kind: "signal_ids" as const, signalIds }
  return { id, phase, position, createdAt: new Date(at), suppress, target }
}

/**
 * Runs the next step of an erasure in one transaction that also saves the progress: a repeated step, or one
 * that two processes run at once, has an effect once.
 *
 * @returns false when nothing was done: it waits for earlier transactions, another process runs this step, or
 *   it is done
 * @throws {DatabaseError} the step is done or not; the next call continues
 */
async function eraseStep(db: Database, progress: Progress): Promise<boolean> {
  const statement = stepOf(progress)
  return statement !== undefined && (await db.query<{ id: string }>(statement)).length > 0
}

function stepOf({ id, phase, position, target }: Progress): SQL | undefined {
  switch (phase) {
    case "begin":
      return beginWaiting(id)
    case "wait":
      return endWaiting(id)
    case "signals":
      return target && eraseSignals({ id, phase, position }, target)
    case "dead_letters":
      return target && eraseDeadLetters({ id, phase, position }, target)
    case "ledger":
      return target && eraseLedgerTexts({ id, phase, position }, target)
    default:
      return undefined
  }
}

/**
 * Saves the transactions that hold a lock on `suppressions`. Every write takes it before its snapshot and
 * holds it until it commits, so any other write sees the suppression.
 */
const beginWaiting = (id: string): SQL => sql`
  update ${erasures} set phase = 'wait', waits_for = array(
    select distinct virtualtransaction from pg_locks
    where relation = ${"suppressions"}::regclass and pid <> pg_backend_pid()
      and database = (select oid from pg_database where datname = current_database())
  )
  where id = ${id}::uuid and phase = 'begin'
  returning id`

const endWaiting = (id: string): SQL => sql`
  update ${erasures} set phase = 'signals', position = '', waits_for = null
  where id = ${id}::uuid and phase = 'wait'
    and not exists (select from pg_locks where virtualtransaction = any(waits_for))
  returning id`

function eraseSignals(at: ErasurePosition, target: ErasureTarget): SQL {
  const gone = sql`(select count(*) from gone)`
  const next = "dead_letters"
  switch (target.kind) {
    case "signal_ids":
      return sql`
        with ${heldErasure(at)}, gone as (
          delete from ${signals} where ${IS_HELD} and id = any(${sql.param([...target.signalIds])}::int8[]) returning transaction_id
        )
        ${advance(at, {
          counts: sql`signal_count = signal_count + ${gone}, transaction_ids = array(select distinct transaction_id from gone)`,
          ...{ more: sql`false`, at: sql`''`, next },
        })}`
    case "context_window_id":
      return sql`
        with ${heldErasure(at)}, gone as (
          delete from ${signals} where id = any(array(
            select id from ${signals} where ${IS_HELD} and context_window_id = ${target.subject} and ${COVERED} limit ${STEP.deleted}::int4
          ))
          returning id
        )
        ${advance(at, {
          counts: sql`signal_count = signal_count + ${gone}`,
          // Each step has its own position, so that two processes cannot both count it.
          ...{ more: sql`${gone} = ${STEP.deleted}::int4`, at: sql`(select max(id)::text from gone)`, next },
        })}`
    default:
      return walkSignals(at, sql.raw(target.kind), target.subject)
  }
}

/**
 * There is no index on these columns: each would cost every batch more than all erasures together. The table
 * is read by id.
 */
const walkSignals = (at: ErasurePosition, column: SQL, subject: string): SQL => sql`
  with ${heldErasure(at)}, step as materialized (
    select id, ${column} = ${subject} and ${COVERED} as is_hit from ${signals}
    where ${IS_HELD} and id > ${at.position || "0"}::int8 order by id limit ${STEP.walked}::int4
  ), gone as (
    delete from ${signals} where id = any(array(select id from step where is_hit)) returning id
  )
  ${advance(at, {
    counts: sql`signal_count = signal_count + (select count(*) from gone)`,
    more: sql`(select count(*) from step) = ${STEP.walked}::int4`,
    at: sql`(select max(id)::text from step)`,
    next: "dead_letters",
  })}`

/**
 * Replaces the sentences of failures that can quote a value, and quote the subject: those of the database and
 * of a JSON parser, which put a value between quotation marks. A name with a colon behind it is no value.
 */
function eraseLedgerTexts(at: ErasurePosition, target: ErasureTarget): SQL | undefined {
  if (target.kind === "signal_ids") return undefined
  const quoted = [`"${target.subject}"`, JSON.stringify(target.subject)]
  const hasQuote = (text: SQL) =>
    sql.join(
      quoted.map((needle) => sql`strpos(replace(${text}, ${`${needle}:`}, ''), ${needle}) > 0`),
      sql` or `,
    )
  const quotes = sql`(failure ->> 'code' in ('refused_by_database', 'invalid_json', 'unreadable_record') and (${hasQuote(sql`failure ->> 'error'`)}))`
  return sql`
    with ${heldErasure(at)}, step as materialized (
      select transaction_id, failed_count > 0 as has_texts from ${batches}
      where ${IS_HELD} and transaction_id > ${at.position || "00000000-0000-0000-0000-000000000000"}::uuid
      order by transaction_id limit ${STEP.ledger}::int4
    ), gone as (
      update ${batches} set
        failures = (
          select coalesce(jsonb_agg(
            case when ${quotes} then failure || jsonb_build_object('error', ${ERASED_TEXT}::text) else failure end
            order by position
          ), '[]')
          from jsonb_array_elements(failures) with ordinality as listed (failure, position)
        )
      where transaction_id = any(array(select transaction_id from step where has_texts))
        and exists (select from jsonb_array_elements(failures) as failure where ${quotes})
      returning transaction_id
    )
    ${advance(at, {
      counts: sql`ledger_count = ledger_count + (select count(*) from gone)`,
      more: sql`(select count(*) from step) = ${STEP.ledger}::int4`,
      at: sql`(select transaction_id::text from step order by transaction_id desc limit 1)`,
      next: "bucket",
    })}`
}

/** Saves that objects of the bucket were read. */
export async function passObjects(
  db: Database,
  id: string,
  passed: { from: string; to: string; removed: number },
): Promise<boolean> {
  const updated = await db.query(sql`
    update ${erasures} set position = ${passed.to}, object_count = object_count + ${passed.removed}::int4
    where id = ${id}::uuid and phase = 'bucket' and position = ${passed.from} returning id`)
  return updated.length > 0
}

/** Ends an erasure: only the hash of its subject stays. */
export async function finishErasure(db: Database, id: string): Promise<boolean> {
  const done = await db.query(sql`
    update ${erasures} set
      phase = 'done', position = '', subject = null, signal_ids = null, transaction_ids = null, waits_for = null, finished_at = now()
    where id = ${id}::uuid and phase = 'bucket' returning id`)
  return done.length > 0
}

/**
 * After this time, everything that waited in the queue or the bucket before an erasure is stored or deleted.
 */
const WAITING_DAYS = 90

/**
 * Removes the suppressions of erasures without `suppress`, when no signal accepted before them can be left.
 */
export async function releaseSuppressions(db: Database): Promise<number> {
  const gone = await db.query(sql`
    delete from ${suppressions} where not permanent and created_at < now() - ${sql.raw(`interval '${WAITING_DAYS} days'`)} returning kind`)
  return gone.length
}

/** Dead letters after a position, `is_hit` if they are about the target. */
const deadLettersFrom = (position: string, target: ErasureTarget): SQL => sql`
  select *, ${deadLetterMatches(target)} as is_hit from ${deadLetters}
  where id > ${position || "0"}::int8 order by id limit ${STEP.deadLetters}::int4`

/** Whether a dead letter is about the target: one of its subjects is. */
const deadLetterMatches = (target: ErasureTarget): SQL =>
  target.kind === "signal_ids"
    ? sql`false`
    : sql`subject_hash(${target.kind}, ${target.subject}) = any(subject_hashes)`

/** The step of an erasure that handles the next dead letters. */
function eraseDeadLetters(at: ErasurePosition, target: ErasureTarget): SQL {
  const next = target.kind === "signal_ids" ? "bucket" : "ledger"
  // A signal that was erased by its id can come from a dead letter, which still has the record.
  const replayed = sql`replay_transaction_id = any((select transaction_ids from ${erasures} where id = ${at.id}::uuid)::uuid[])`
  return sql`
    with ${heldErasure(at)}, step as materialized (
      select id, ${target.kind === "signal_ids" ? replayed : sql`is_hit and source <> 'queue' and ${COVERED}`} as is_hit
      from (${deadLettersFrom(at.position, target)}) as dead_letter where ${IS_HELD}
    ), gone as (
      delete from ${deadLetters} where id = any(array(select id from step where is_hit)) returning id
    )
    ${advance(at, {
      counts: sql`dead_letter_count = dead_letter_count + (select count(*) from gone)`,
      more: sql`(select count(*) from step) = ${STEP.deadLetters}::int4`,
      at: sql`(select max(id)::text from step)`,
      next,
    })}`
}

/** A dead letter that can hold dedupe keys that no stored signal has. */
interface KeyedDeadLetter {
  id: number
  source: "queue" | "signal"
  transactionId: string
  record: string
}

/**
 * The dead letters of the next step that were accepted with dedupe keys: whole messages of the queue, and
 * signals that only the database refused. The records of webhooks broke a rule: they become dead letters
 * again when they are sent again.
 */
export async function keyedDeadLetters(
  db: Database,
  { id, suppress, position, target }: Progress,
): Promise<KeyedDeadLetter[]> {
  if (!target || target.kind === "signal_ids") return []
  const rows = await db.query<Omit<KeyedDeadLetter, "id"> & { id: string }>(
    sql`
      select id, source, transaction_id as "transactionId", record from (${deadLettersFrom(position, target)}) as dead_letter
      where is_hit and (source = 'queue' or source = 'signal' and (${suppress}::bool or transaction_id < ${id}::uuid))`,
  )
  return rows.map((row) => ({ ...row, id: Number(row.id) }))
}

type Phase = (typeof erasures.$inferSelect)["phase"]

/** The progress of an erasure. */
export interface Progress {
  id: string
  phase: Phase
  position: string
  createdAt: Date
  /** Whether it also covers what was accepted after it. */
  suppress: boolean
  /** Undefined when it is done. */
  target: ErasureTarget | undefined
}

/** The rows of each kind that one statement reads or deletes. */
const STEP = { walked: 20_000, deleted: 5_000, deadLetters: 200, ledger: 5_000 }

/** Where an erasure is: a step works from here only while it is still there. */
interface ErasurePosition {
  id: string
  phase: Phase
  position: string
}

/** The erasure at this position, locked. Empty when another process works on it, or has moved on. */
const heldErasure = ({ id, phase, position }: ErasurePosition): SQL => sql`
  held as materialized (
    select id, suppress from ${erasures} where id = ${id}::uuid and phase = ${phase} and position = ${position}
    for update skip locked
  )`

/** Only for the process that holds the erasure; others read nothing. */
const IS_HELD = sql`(select exists (select from held))`

/**
 * Whether an erasure covers a row about its subject: the row was accepted before the erasure, or the erasure
 * also suppresses what comes after it. Both ids are UUIDv7, so that they are in the order of time.
 */
const COVERED = sql`((select suppress from held) or transaction_id < (select id from held))`

/** Saves the progress of a step. `more`: whether the phase continues, at `at`. */
const advance = (
  { id }: ErasurePosition,
  { counts, more, at, next }: { counts: SQL; more: SQL; at: SQL; next: Phase },
): SQL => sql`
  update ${erasures} set
    ${counts},
    phase = case when ${more} then phase else ${next} end,
    position = case when ${more} then ${at} else '' end
  where id = ${id}::uuid and ${IS_HELD}
  returning id`
