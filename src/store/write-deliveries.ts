import type { SignalRow } from "../signals/plan.ts"
import type { Failure } from "../signals/responses.ts"
import { BatchInDoubt, type Inserted, type NewBatch } from "./batch.ts"
import type { Database } from "./connection.ts"
import { type DeadLetter, insertDeadLetters } from "./dead-letters.ts"
import { DatabaseError } from "./errors.ts"
import { insertGrouped } from "./group/insert-grouped.ts"
import { type BatchWrite, distinctWrites, insertMany } from "./group/insert-many.ts"
import { withPartitions } from "./partitions.ts"
import { SIGNAL_COLUMNS } from "./statement/signal-columns.ts"
import { writeBatch } from "./write-batch.ts"

/** A batch that was acknowledged before it was stored, and what of it can't be. */
export interface Delivery extends BatchWrite {
  batch: NewBatch & { allOrNothing: false; idempotency?: undefined }
}

/** What this call did; a delivery that an earlier call stored counts nothing. */
export interface WrittenDeliveries {
  /** Signals that this call added to the table. */
  stored: number
  /** Signals whose dedupe_key was stored before. */
  duplicates: number
  /** Signals that only the database refused, which are dead letters now. */
  refused: Failure[]
}

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
 * Stores deliveries in one statement, or none of them.
 *
 * @throws {DatabaseError} the database refused one of them, or did not answer
 */
export async function writeTogether(db: Database, deliveries: readonly Delivery[]): Promise<WrittenDeliveries> {
  const ids = deliveries.reduce((sum, { batch }) => sum + batch.plan.rows.length, 0)
  const inserted = await withPartitions(db, ids, () => insertMany(db, deliveries))
  return written([...inserted.values()])
}

/**
 * Stores one delivery, in one statement with what other requests of this isolate write at the same time.
 *
 * @throws {BatchInDoubt} it may be stored
 * @throws {DatabaseError} nothing was stored
 */
export async function writeDelivery(db: Database, delivery: Delivery): Promise<WrittenDeliveries> {
  const { transactionId } = delivery.batch
  const alone = async () => (await insertMany(db, [delivery])).get(transactionId)
  return orEach(db, [delivery], async () => {
    const inserted = await withPartitions(db, delivery.batch.plan.rows.length, () => insertGrouped(db, delivery, alone))
    return written(inserted ? [inserted] : [])
  })
}

function written(inserted: readonly Inserted[]): WrittenDeliveries {
  const rows = inserted.flatMap((one) => one.rows)
  const stored = rows.filter(({ id }) => id !== undefined).length
  return { stored, duplicates: rows.length - stored, refused: [] }
}

/** One after the other, since the database refused a signal of one of them: each row of that in a savepoint. */
async function writeEach(db: Database, deliveries: readonly Delivery[]): Promise<WrittenDeliveries> {
  const total: WrittenDeliveries = { stored: 0, duplicates: 0, refused: [] }
  for (const { batch, letters } of deliveries) {
    const { failures, stored, duplicates } = await writeBatch(db, batch)
    total.stored += stored.length - duplicates
    total.duplicates += duplicates
    const known = new Set(letters.map(({ index }) => index))
    const refused = failures.filter(({ index }) => !known.has(index))
    total.refused.push(...refused)
    await insertDeadLetters(db, [...letters, ...refused.map((failure) => letterOf(batch, failure))]).catch((error) => {
      throw error instanceof DatabaseError ? new BatchInDoubt(batch.transactionId, error) : error
    })
  }
  return total
}

/** The dead letter of a signal that passed every rule and that only the database refuses. */
function letterOf({ transactionId, caller, plan }: NewBatch, { index, error }: Failure): DeadLetter {
  const row = plan.rows.find((one) => one.index === index)
  return { transactionId, index, source: "signal", caller, reason: error, record: row ? signalText(row) : "null" }
}

/** A row as the JSON of the signal that it was. */
function signalText(row: SignalRow): string {
  const fields = SIGNAL_COLUMNS.map(({ field, column, type }) => {
    const name = field === "time" ? "timestamp" : column
    // A payload is JSON already.
    return `${JSON.stringify(name)}:${type === "jsonb" ? row[field] || "null" : JSON.stringify(row[field])}`
  })
  return `{${fields.join(",")}}`
}
