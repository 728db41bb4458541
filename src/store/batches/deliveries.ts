import { sql } from "drizzle-orm"
import { type Subjects, withoutSuppressed } from "../../signals/erasure.ts"
import type { Failure } from "../../signals/responses.ts"
import type { SignalRow } from "../../signals/schema.ts"
import { SIGNAL_COLUMNS } from "../../signals/schema.ts"
import { type Database, withRetries } from "../database/connection.ts"
import { DatabaseError } from "../database/errors.ts"
import { withPartitions } from "../database/partitions.ts"
import { batches } from "../database/schema.ts"
import { keepTexts } from "../dead-letters/bound-record.ts"
import { type DeadLetter, insertDeadLetters } from "../dead-letters/store.ts"
import { isSuppressed, keepErasedKeys, orSuppressed } from "../lifecycle/suppression.ts"
import { assertOutcome, BatchInDoubt, type Inserted, type NewBatch, type NewScores } from "./batch.ts"
import { insertByHalves } from "./by-halves.ts"
import { repeatChanges, withoutFailed } from "./changes.ts"
import { type BatchWrite, distinctWrites, insertGrouped, insertMany, type Outcome } from "./insert-many.ts"
import { Outcomes, type SignalCounts } from "./outcomes.ts"
import { writeScores } from "./scores.ts"
import { encodeColumns } from "./statement.ts"

/**
 * A batch that was acknowledged before it was stored, the dead letters of its records that cannot be stored,
 * and its scores.
 */
export interface Delivery extends BatchWrite {
  batch: NewBatch & { allOrNothing: false; idempotency?: undefined }
}

/** The rows of a delivery: its signals and its scores. */
export const rowsOf = ({ batch, scores }: Delivery): number =>
  batch.plan.rows.length + (scores?.plan.rows.length ?? 0)

/**
 * The counts have what this call entered in the ledger; a delivery that an earlier call entered counts
 * nothing.
 */
export interface WrittenDeliveries extends SignalCounts {
  /**
   * Signals that only the database refused, and scores that could not be stored. They are dead letters now,
   * unless the signal of a score was deleted.
   */
  refused: Failure[]
  /** Signals of suppressed subjects, of which nothing is kept. */
  suppressed: FailedSignal[]
}

/** The failure of a signal, and its batch. */
interface FailedSignal {
  transactionId: string
  failure: Failure
}

/** The failures of a call, whether it entered their batches in the ledger or an earlier one did. */
type Failed = Pick<WrittenDeliveries, "refused" | "suppressed">

/**
 * Stores the deliveries of many calls exactly once: their ledger rows, signals and dead letters, in one
 * statement. Safe to repeat, and with the same delivery more than once in it.
 *
 * @param outcomes receives what was entered in the ledger, also when it throws
 * @throws {BatchInDoubt} some or all of it may be stored; it names the first of them
 * @throws {DatabaseError} nothing was stored
 */
export async function writeDeliveries(
  db: Database,
  delivered: readonly Delivery[],
  outcomes = new Outcomes(),
): Promise<WrittenDeliveries> {
  const distinct = distinctWrites(delivered)
  const call = { db, outcomes }
  const [scores, deliveries] = [distinct.flatMap(onlyScores), distinct.filter((one) => !onlyScores(one)[0])]
  const failed: Failed = { refused: [], suppressed: [] }
  if (deliveries.length > 0)
    Object.assign(failed, await orEach(call, deliveries, () => storeTogether(call, deliveries)))
  for (const [position, batch] of scores.entries()) {
    const isFirst = deliveries.length === 0 && position === 0
    failed.refused.push(...(await storeScores(call, batch, { isFirst })))
  }
  return { ...outcomes.counts(), refused: failed.refused, suppressed: failed.suppressed }
}

/** The scores of a delivery that has nothing else. */
const onlyScores = ({ batch, scores }: Delivery): NewScores[] =>
  scores && batch.plan.total === 0 ? [scores] : []

/**
 * Stores the scores of a delivery that has nothing else.
 *
 * @returns their failures
 * @throws {BatchInDoubt} they, or something before them, may be stored
 * @throws {DatabaseError} nothing was stored
 */
async function storeScores(
  { db, outcomes }: Call,
  batch: NewScores,
  { isFirst = true }: { isFirst?: boolean } = {},
): Promise<Failure[]> {
  const written = await writeScores(db, batch, { keepsFailed: true }).catch((error) => {
    throw error instanceof DatabaseError && !isFirst ? new BatchInDoubt(batch, error) : error
  })
  if (written.isNew) outcomes.enterScores({ ...written, rows: written.stored })
  return written.failures
}

/** A call: its database, and what it entered in the ledger. */
interface Call {
  db: Database
  outcomes: Outcomes
}

/** Runs `work`. When the database refuses a row, stores the deliveries one by one. */
async function orEach(
  call: Call,
  deliveries: readonly Delivery[],
  work: () => Promise<Failed>,
): Promise<WrittenDeliveries> {
  const failed = await work().catch((error) => {
    if (!(error instanceof DatabaseError)) throw error
    if (error.kind === "refused") return storeEach(call, deliveries)
    const [first] = deliveries
    throw first && error.mayHaveRun ? new BatchInDoubt(first.batch, error) : error
  })
  return { ...call.outcomes.counts(), ...failed }
}

/**
 * Stores deliveries in one statement, or none of them; those with suppressed rows in another one, without
 * these rows.
 *
 * @throws {DatabaseError} the database refused one of them, or did not answer
 */
export async function writeTogether(
  db: Database,
  deliveries: readonly Delivery[],
): Promise<WrittenDeliveries> {
  const outcomes = new Outcomes()
  const failed = await storeTogether({ db, outcomes }, deliveries)
  return { ...outcomes.counts(), ...failed }
}

async function storeTogether(call: Call, deliveries: readonly Delivery[]): Promise<Failed> {
  const rows = deliveries.reduce((sum, { batch }) => sum + batch.plan.rows.length, 0)
  const results = await withPartitions(call.db, rows, () => insertMany(call.db, deliveries))
  return finish(call, deliveries, results, storeTogether)
}

/**
 * Stores one delivery, in one statement with what other requests of this isolate write at the same time.
 *
 * @throws {BatchInDoubt} it may be stored
 * @throws {DatabaseError} nothing was stored
 */
export async function writeDelivery(db: Database, delivery: Delivery): Promise<WrittenDeliveries> {
  const call = { db, outcomes: new Outcomes() }
  const [scores] = onlyScores(delivery)
  if (scores) {
    const refused = await storeScores(call, scores)
    return { ...call.outcomes.counts(), refused, suppressed: [] }
  }
  const rows = delivery.batch.plan.rows.length
  const alone = async (refused: () => void) => {
    const result = await insertDelivery(db, delivery, refused)
    return result === IN_LEDGER ? undefined : result
  }
  return orEach(call, [delivery], async () => {
    const insert = () => (delivery.scores ? alone(() => {}) : insertGrouped(db, delivery, alone))
    const inserted = await withPartitions(db, rows, insert)
    return finish(call, [delivery], [inserted ?? IN_LEDGER], storeEach)
  })
}

const IN_LEDGER = "in the ledger"

/**
 * Inserts a delivery in a statement of its own, and by halves when the database refuses one of its rows.
 *
 * @param refused called when the database refuses a row
 */
async function insertDelivery(
  db: Database,
  delivery: Delivery,
  refused: () => void = () => {},
): Promise<Outcome> {
  try {
    const [result = IN_LEDGER] = await insertMany(db, [delivery])
    return result
  } catch (error) {
    if (!(error instanceof DatabaseError && error.kind === "refused")) throw error
    refused()
    const columns = encodeColumns(delivery.batch.plan.rows)
    return (await orSuppressed(insertByHalves(db, delivery, columns))) ?? IN_LEDGER
  }
}

/**
 * Counts what was inserted, makes deliveries whole that the ledger had before, and stores the deliveries with
 * suppressed rows, without these rows. Each time they have fewer rows, so this ends.
 *
 * @param storeOthers stores them; the database can refuse another of their rows
 * @throws {WrongOutcome} of one of them; the others are in the ledger too
 */
async function finish(
  call: Call,
  deliveries: readonly Delivery[],
  results: readonly Outcome[],
  storeOthers: (call: Call, deliveries: readonly Delivery[]) => Promise<Failed>,
): Promise<Failed> {
  const failed: Failed = { refused: [], suppressed: [] }
  const others: { delivery: Delivery; refused: SignalRow[] }[] = []
  const entered: Delivery[] = []
  for (const [position, delivery] of deliveries.entries()) {
    const { batch } = delivery
    const result = results[position] ?? IN_LEDGER
    if (result === IN_LEDGER) entered.push(delivery)
    else if (isSuppressed(result)) {
      const plan = withoutSuppressed(batch.plan, result.suppressed)
      const refused = batch.plan.rows.filter((_, index) => result.suppressed.has(index))
      others.push({ delivery: { ...delivery, batch: { ...batch, plan } }, refused })
    } else {
      assertOutcome(batch.transactionId, atPositions(batch, result), batch.plan.total)
      const failures = addedFailures(delivery, result.failures)
      call.outcomes.enter(batch, { rows: result.rows, failures })
      if (result.scores) call.outcomes.enterScores(result.scores)
      addFailed(failed, batch.transactionId, [...failures, ...(result.scores?.failures ?? [])])
    }
  }
  for (const { transactionId, failures } of await makeWhole(call.db, entered))
    addFailed(failed, transactionId, failures)
  if (others.length === 0) return failed
  for (const { delivery, refused } of others)
    await keepErasedKeys(call.db, delivery.batch.transactionId, refused)
  const rest = await storeOthers(
    call,
    others.map(({ delivery }) => delivery),
  )
  return {
    refused: [...failed.refused, ...rest.refused],
    suppressed: [...failed.suppressed, ...rest.suppressed],
  }
}

/**
 * An outcome with positions for indexes, which have gaps: a skipped record and a score are no part of the
 * batch.
 */
function atPositions({ plan }: NewBatch, { rows, failures }: Pick<Inserted, "rows" | "failures">) {
  const indexes = [...plan.rows, ...plan.failures].map(({ index }) => index).sort((a, b) => a - b)
  const positions = new Map(indexes.map((index, position) => [index, position]))
  const at = <One extends { index: number }>(one: One): One => ({
    ...one,
    index: positions.get(one.index) ?? one.index,
  })
  return { stored: rows.map(at), failures: failures.map(at) }
}

/**
 * The failures that were not known when the delivery was accepted, so that it has no dead letter for them.
 */
function addedFailures({ deadLetters }: Delivery, failures: readonly Failure[]): Failure[] {
  const known = new Set(deadLetters.map(({ index }) => index))
  return failures.filter(
    ({ index, code }) => !known.has(index) && (code === "suppressed" || code === "refused_by_database"),
  )
}

function addFailed(failed: Failed, transactionId: string, failures: readonly Failure[]): void {
  for (const failure of failures)
    if (failure.code === "suppressed") failed.suppressed.push({ transactionId, failure })
    else failed.refused.push(failure)
}

/**
 * Makes deliveries whole that the ledger already has: the attempt that entered them can be one of a version
 * that stored dead letters and changes afterwards, and can have ended before. Safe to repeat.
 *
 * @returns the failures of each that were added when it was entered
 * @throws {DatabaseError} marked as one that may have run, since the deliveries are in the ledger
 */
async function makeWhole(
  db: Database,
  deliveries: readonly Delivery[],
): Promise<{ transactionId: string; failures: Failure[] }[]> {
  if (deliveries.length === 0) return []
  try {
    const ids = deliveries.flatMap(({ batch, scores }) => [batch, ...(scores ? [scores] : [])])
    const recorded = await withRetries(db, () =>
      db.query<{ transaction_id: string; failures: Failure[] }>(
        sql`select transaction_id, failures from ${batches} where transaction_id = any(${sql.param(ids.map(({ transactionId }) => transactionId))}::uuid[])`,
      ),
    )
    const failuresOf = new Map(recorded.map(({ transaction_id, failures }) => [transaction_id, failures]))
    const added = deliveries.map((delivery) => {
      const { transactionId } = delivery.batch
      return {
        delivery,
        transactionId,
        failures: [
          ...addedFailures(delivery, failuresOf.get(transactionId) ?? []),
          ...(failuresOf.get(delivery.scores?.transactionId ?? "") ?? []),
        ],
      }
    })
    const deadLetters = added.flatMap(({ delivery, failures }) => {
      const refused = failures.filter(({ code }) => code === "refused_by_database")
      return [...delivery.deadLetters, ...deadLettersOf(delivery.batch, refused)]
    })
    await insertDeadLetters(db, deadLetters)
    await repeatChanges(
      db,
      deliveries.map(({ batch }) => withoutFailed(batch, failuresOf.get(batch.transactionId) ?? [])),
    )
    return added.map(({ transactionId, failures }) => ({ transactionId, failures }))
  } catch (error) {
    throw error instanceof DatabaseError ? error.withDoubt(true) : error
  }
}

/**
 * One after the other, since the database refused a signal of one of them.
 *
 * @throws {BatchInDoubt} this one may be stored, or those before it are
 * @throws {DatabaseError} nothing was stored
 */
async function storeEach(call: Call, deliveries: readonly Delivery[]): Promise<Failed> {
  const total: Failed = { refused: [], suppressed: [] }
  for (const [position, delivery] of deliveries.entries()) {
    const { plan } = delivery.batch
    try {
      const result = await withPartitions(call.db, plan.rows.length, () => insertDelivery(call.db, delivery))
      const { refused, suppressed } = await finish(call, [delivery], [result], storeEach)
      total.refused.push(...refused)
      total.suppressed.push(...suppressed)
    } catch (error) {
      if (error instanceof DatabaseError && (error.mayHaveRun || position > 0))
        throw new BatchInDoubt(delivery.batch, error)
      throw error
    }
  }
  return total
}

/** The dead letters of signals that passed every rule and that only the database refuses. */
function deadLettersOf({ transactionId, caller, plan }: NewBatch, refused: readonly Failure[]): DeadLetter[] {
  const rows = new Map(plan.rows.map((row) => [row.index, row]))
  return keepTexts(
    refused.map(({ index, error, code, field }) => {
      const row = rows.get(index)
      const why = { reason: error, code, field, subjects: row && subjectsOf(row) }
      return { transactionId, index, source: "signal" as const, caller, ...why, record: signalText(row) }
    }),
  )
}

/** A suppression may have begun after the row was checked. */
const subjectsOf = ({ userId, agentId, contextWindowId }: SignalRow): Subjects => ({
  ...(userId !== null && { user_id: userId }),
  ...(agentId !== null && { agent_id: agentId }),
  context_window_id: contextWindowId,
})

/** A row as the JSON of the signal that it was. */
function signalText(row: SignalRow | undefined): string {
  if (!row) return "null"
  const fields = SIGNAL_COLUMNS.map(({ field, column, type }) => {
    const name = field === "time" ? "timestamp" : column
    // A payload is JSON already.
    return `${JSON.stringify(name)}:${type === "jsonb" ? row[field] || "null" : JSON.stringify(row[field])}`
  })
  return `{${fields.join(",")}}`
}
