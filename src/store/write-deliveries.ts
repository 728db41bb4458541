import { type Subjects, withoutSuppressed } from "../signals/lifecycle/erasure.ts"
import type { Failure } from "../signals/responses.ts"
import type { SignalRow } from "../signals/schema.ts"
import { addTallies, EMPTY_TALLY, type Tally, tallyNew } from "../signals/tally.ts"
import { BatchInDoubt, type Inserted, type NewBatch } from "./batch.ts"
import { deleteSignals, editsOf, editTogether, type FailedEdit } from "./changes/changes.ts"
import { keepErasedKeys } from "./changes/erased-keys.ts"
import type { Database } from "./connection.ts"
import { type DeadLetter, insertDeadLetters } from "./dead-letters.ts"
import { DatabaseError } from "./errors.ts"
import { insertGrouped } from "./group/insert-grouped.ts"
import { type BatchWrite, distinctWrites, insertMany } from "./group/insert-many.ts"
import { withPartitions } from "./partitions.ts"
import { countDuplicates } from "./replay-batch.ts"
import { keepTexts } from "./statement/letter-records.ts"
import { SIGNAL_COLUMNS } from "./statement/signal-columns.ts"
import { isSuppressed, type Suppressed } from "./statement/suppression.ts"
import { writeBatch } from "./write-batch.ts"

/** A batch that was acknowledged before it was stored, and what of it can't be. */
export interface Delivery extends BatchWrite {
  batch: NewBatch & { allOrNothing: false; idempotency?: undefined }
}

/** What this call did; a delivery that an earlier call stored counts nothing. */
export interface WrittenDeliveries {
  /** Signals that this call added to the table, and the same by their source. */
  stored: number
  sources: Tally
  /** Signals whose dedupe_key was stored before. */
  duplicates: number
  /** Signals that only the database refused, which are dead letters now. */
  refused: Failure[]
  /** Signals of suppressed subjects, of which nothing is kept. */
  suppressed: { transactionId: string; failure: Failure }[]
}

const nothingWritten = (): WrittenDeliveries => ({
  stored: 0,
  sources: EMPTY_TALLY,
  duplicates: 0,
  refused: [],
  suppressed: [],
})

/**
 * Stores the deliveries of many calls exactly once: their ledger rows, signals and dead letters, in one statement. Safe to repeat,
 * and with the same delivery more than once in it.
 *
 * @throws {BatchInDoubt} some or all of it may be stored; it names the first of them
 * @throws {DatabaseError} nothing was stored
 */
export async function writeDeliveries(db: Database, delivered: readonly Delivery[]): Promise<WrittenDeliveries> {
  const deliveries = distinctWrites(delivered)
  return orEach(db, deliveries, () => writeTogether(db, deliveries))
}

/** Does `work`, and when the database refuses something stores the deliveries one after the other. */
async function orEach(
  db: Database,
  deliveries: readonly Delivery[],
  work: () => Promise<WrittenDeliveries>,
): Promise<WrittenDeliveries> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error
    if (error.kind === "refused") return writeEach(db, deliveries)
    throw error.mayHaveRun ? new BatchInDoubt(deliveries[0]?.batch.transactionId ?? "", error) : error
  }
}

/**
 * Stores deliveries in one statement, or none of them; those with suppressed rows in another one, without these rows.
 *
 * @throws {DatabaseError} the database refused one of them, or did not answer
 */
export async function writeTogether(db: Database, deliveries: readonly Delivery[]): Promise<WrittenDeliveries> {
  const rows = deliveries.flatMap(({ batch }) => batch.plan.rows)
  await deleteSignals(db, rows)
  const inserted = await withPartitions(db, rows.length, () => insertMany(db, deliveries))
  return written(db, deliveries, inserted, await makeEdits(db, deliveries, inserted))
}

/**
 * Stores one delivery, in one statement with what other requests of this isolate write at the same time.
 *
 * @throws {BatchInDoubt} it may be stored
 * @throws {DatabaseError} nothing was stored
 */
export async function writeDelivery(db: Database, delivery: Delivery): Promise<WrittenDeliveries> {
  const { transactionId, plan } = delivery.batch
  const alone = async () => (await insertMany(db, [delivery])).get(transactionId)
  return orEach(db, [delivery], async () => {
    await deleteSignals(db, plan.rows)
    const inserted = await withPartitions(db, plan.rows.length, () => insertGrouped(db, delivery, alone))
    const results = new Map(inserted && [[transactionId, inserted]])
    return written(db, [delivery], results, await makeEdits(db, [delivery], results))
  })
}

/**
 * Applies the edits of deliveries. Those of deliveries with suppressed rows are applied when the rest of these deliveries is written.
 *
 * @returns the edits of subjects that were suppressed after the rows were written
 */
async function makeEdits(
  db: Database,
  deliveries: readonly Delivery[],
  results: ReadonlyMap<string, Inserted | Suppressed>,
): Promise<FailedEdit[]> {
  const done = deliveries.filter(({ batch }) => !isSuppressed(results.get(batch.transactionId)))
  return editTogether(
    db,
    done.flatMap(({ batch }) => editsOf(batch)),
  )
}

/** Counts what was inserted, and stores the deliveries that were not, without their suppressed rows. */
async function written(
  db: Database,
  deliveries: readonly Delivery[],
  results: ReadonlyMap<string, Inserted | Suppressed>,
  failedEdits: readonly FailedEdit[],
): Promise<WrittenDeliveries> {
  const total = { ...nothingWritten(), suppressed: [...failedEdits] }
  const failedOf = Map.groupBy(failedEdits, ({ transactionId }) => transactionId)
  const others: Delivery[] = []
  for (const delivery of deliveries) {
    const { batch } = delivery
    const result = results.get(batch.transactionId)
    if (isSuppressed(result)) {
      const plan = withoutSuppressed(batch.plan, result.suppressed)
      others.push({ ...delivery, batch: { ...batch, plan } })
      const left = new Set(plan.rows)
      const refused = batch.plan.rows.filter((row) => !left.has(row))
      await keepErasedKeys(db, batch.transactionId, refused)
      const indexes = new Set(refused.map(({ index }) => index))
      for (const failure of plan.failures)
        if (indexes.has(failure.index)) total.suppressed.push({ transactionId: batch.transactionId, failure })
    } else if (result) {
      const failed = new Set(failedOf.get(batch.transactionId)?.map(({ failure }) => failure.index))
      const left = result.rows.filter(({ index }) => !failed.has(index))
      const rows = left.map(({ index, id }) => ({ index, duplicate: id === undefined }))
      const duplicates = countDuplicates(rows)
      total.stored += rows.length - duplicates
      total.duplicates += duplicates
      total.sources = addTallies(total.sources, tallyNew(batch.plan.rows, rows))
    }
  }
  if (others.length === 0) return total
  const rest = await writeTogether(db, others)
  return {
    stored: total.stored + rest.stored,
    sources: addTallies(total.sources, rest.sources),
    duplicates: total.duplicates + rest.duplicates,
    refused: rest.refused,
    suppressed: [...total.suppressed, ...rest.suppressed],
  }
}

/** One after the other, since the database refused a signal of one of them: each row of that in a savepoint. */
async function writeEach(db: Database, deliveries: readonly Delivery[]): Promise<WrittenDeliveries> {
  const total = nothingWritten()
  for (const { batch, letters } of deliveries) {
    const { failures, stored, duplicates } = await writeBatch(db, batch)
    total.stored += stored.length - duplicates
    total.duplicates += duplicates
    total.sources = addTallies(total.sources, tallyNew(batch.plan.rows, stored))
    const known = new Set(letters.map(({ index }) => index))
    const { transactionId } = batch
    const isOfSuppressed = ({ code, index }: Failure) => code === "suppressed" && !known.has(index)
    total.suppressed.push(...failures.filter(isOfSuppressed).map((failure) => ({ transactionId, failure })))
    const refused = failures.filter((failure) => !known.has(failure.index) && !isOfSuppressed(failure))
    total.refused.push(...refused)
    await insertDeadLetters(db, [...letters, ...lettersOf(batch, refused)]).catch((error) => {
      throw error instanceof DatabaseError ? new BatchInDoubt(batch.transactionId, error) : error
    })
  }
  return total
}

/** The dead letters of signals that passed every rule and that only the database refuses. */
function lettersOf({ transactionId, caller, plan }: NewBatch, refused: readonly Failure[]): DeadLetter[] {
  const rows = new Map(plan.rows.map((row) => [row.index, row]))
  return keepTexts(
    refused.map(({ index, error, code, field }) => {
      const row = rows.get(index)
      const why = { reason: error, code, field, subjects: row && subjectsOf(row) }
      return { transactionId, index, source: "signal" as const, caller, ...why, record: signalText(row) }
    }),
  )
}

/** A suppression may have begun after the row was judged. */
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
