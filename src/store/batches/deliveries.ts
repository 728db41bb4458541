import { type Counts, countSources } from "../../signals/answer.ts"
import { type Subjects, withoutSuppressed } from "../../signals/erasure.ts"
import type { Failure } from "../../signals/responses.ts"
import type { SignalRow } from "../../signals/schema.ts"
import type { Database } from "../database/connection.ts"
import { DatabaseError } from "../database/errors.ts"
import { withPartitions } from "../database/partitions.ts"
import { keepTexts } from "../dead-letters/bound-record.ts"
import { type DeadLetter, insertDeadLetters } from "../dead-letters/store.ts"
import { isSuppressed, keepErasedKeys, type Suppressed } from "../lifecycle/suppression.ts"
import { SIGNAL_COLUMNS } from "../signals/columns.ts"
import { BatchInDoubt, type Inserted, type NewBatch } from "./batch.ts"
import { deleteSignals, type Edit, editsOf, editTogether, type FailedSignal } from "./changes.ts"
import { type BatchWrite, distinctWrites, insertGrouped, insertMany } from "./insert-many.ts"
import { writeBatch } from "./write.ts"

/**
 * A batch that was acknowledged before it was stored, and the dead letters of its records that cannot be
 * stored.
 */
export interface Delivery extends BatchWrite {
  batch: NewBatch & { allOrNothing: false; idempotency?: undefined }
}

/**
 * The counts have what this call entered in the ledger; a delivery that an earlier call entered counts
 * nothing.
 */
export interface WrittenDeliveries extends SignalCounts {
  /** Signals that only the database refused, which are dead letters now. */
  refused: Failure[]
  /** Signals of suppressed subjects, of which nothing is kept. */
  suppressed: FailedSignal[]
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
  const deliveries = distinctWrites(delivered)
  return orEach({ db, outcomes }, deliveries, () => storeTogether({ db, outcomes }, deliveries))
}

/** A call: its database, and what it entered in the ledger. */
interface Call {
  db: Database
  outcomes: Outcomes
}

/** Does `work`, and when the database refuses something stores the deliveries one after the other. */
async function orEach(
  call: Call,
  deliveries: readonly Delivery[],
  work: () => Promise<Failed>,
): Promise<WrittenDeliveries> {
  const failed = await work().catch((error) => {
    if (!(error instanceof DatabaseError)) throw error
    if (error.kind === "refused") return writeEach(call, deliveries)
    throw error.mayHaveRun ? new BatchInDoubt(deliveries[0]?.batch.transactionId ?? "", error) : error
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
  const rows = deliveries.flatMap(({ batch }) => batch.plan.rows)
  await deleteSignals(call.db, rows)
  const results = await withPartitions(call.db, rows.length, () => insertMany(call.db, deliveries))
  return finish(call, deliveries, results)
}

/**
 * Stores one delivery, in one statement with what other requests of this isolate write at the same time.
 *
 * @throws {BatchInDoubt} it may be stored
 * @throws {DatabaseError} nothing was stored
 */
export async function writeDelivery(db: Database, delivery: Delivery): Promise<WrittenDeliveries> {
  const { transactionId, plan } = delivery.batch
  const call = { db, outcomes: new Outcomes() }
  const alone = async () => (await insertMany(db, [delivery])).get(transactionId)
  return orEach(call, [delivery], async () => {
    await deleteSignals(db, plan.rows)
    const inserted = await withPartitions(db, plan.rows.length, () => insertGrouped(db, delivery, alone))
    return finish(call, [delivery], new Map(inserted && [[transactionId, inserted]]))
  })
}

/**
 * SignalCounts what was inserted, applies its edits, and stores the deliveries with suppressed rows, without these
 * rows.
 */
async function finish(
  call: Call,
  deliveries: readonly Delivery[],
  results: ReadonlyMap<string, Inserted | Suppressed>,
): Promise<Failed> {
  const { db, outcomes } = call
  const others: { delivery: Delivery; refused: SignalRow[] }[] = []
  const edits: Edit[] = []
  for (const delivery of deliveries) {
    const { batch } = delivery
    const result = results.get(batch.transactionId)
    if (isSuppressed(result)) {
      const plan = withoutSuppressed(batch.plan, result.suppressed)
      const refused = batch.plan.rows.filter((_, place) => result.suppressed.has(place))
      others.push({ delivery: { ...delivery, batch: { ...batch, plan } }, refused })
      continue
    }
    // An edit is applied again where its batch was in the ledger, since the call that entered it may have
    // ended before.
    edits.push(...editsOf(batch))
    if (!result) continue
    const rows = result.rows.map(({ index, id }) => ({ index, duplicate: id === undefined }))
    const known = new Set(delivery.letters.map(({ index }) => index))
    // Of the failures that have no dead letter, those of the subjects that were suppressed since.
    const failures = result.failures.filter(({ index, code }) => code === "suppressed" && !known.has(index))
    outcomes.enter(batch, { rows, failures })
  }
  const suppressed: FailedSignal[] = await editTogether(db, edits)
  for (const { transactionId, failure } of suppressed) outcomes.fail(transactionId, failure)
  if (others.length === 0) return { refused: [], suppressed }

  for (const { delivery, refused } of others) {
    const { transactionId, plan } = delivery.batch
    await keepErasedKeys(db, transactionId, refused)
    const indexes = new Set(refused.map(({ index }) => index))
    const failures = plan.failures.filter(({ index }) => indexes.has(index))
    suppressed.push(...failures.map((failure) => ({ transactionId, failure })))
  }
  const rest = await storeTogether(
    call,
    others.map(({ delivery }) => delivery),
  )
  return { refused: rest.refused, suppressed: [...suppressed, ...rest.suppressed] }
}

/**
 * One after the other, since the database refused a signal of one of them: each row of that in a savepoint.
 */
async function writeEach({ db, outcomes }: Call, deliveries: readonly Delivery[]): Promise<Failed> {
  const total: Failed = { refused: [], suppressed: [] }
  for (const delivery of deliveries) {
    const { batch, letters } = delivery
    const { transactionId } = batch
    const { failures, stored, isNew } = await writeBatch(db, batch)
    const known = new Set(letters.map(({ index }) => index))
    const added = failures.filter(({ index }) => !known.has(index))
    if (isNew) outcomes.enter(batch, { rows: stored, failures: added })
    else for (const failure of added) outcomes.fail(transactionId, failure)
    const { suppressed = [], refused = [] } = Object.groupBy(added, ({ code }) =>
      code === "suppressed" ? code : "refused",
    )
    total.suppressed.push(...suppressed.map((failure) => ({ transactionId, failure })))
    total.refused.push(...refused)
    await insertDeadLetters(db, [...letters, ...lettersOf(batch, refused)]).catch((error) => {
      throw error instanceof DatabaseError ? new BatchInDoubt(transactionId, error) : error
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

/** The counts of signals. */
export interface SignalCounts {
  /** Signals that are new in the table, and the same by source. */
  stored: number
  sources: Counts
  /** Signals whose dedupe_key was stored before. */
  duplicates: number
  /** The failures that were not known when the batches were accepted. */
  failures: Failure[]
}

interface Entered {
  stored: Map<number, Pick<SignalRow, "signalSource">>
  duplicates: Set<number>
  failures: Map<number, Failure>
}

/**
 * The outcomes of the signals in batches that one call entered in the ledger. No other call counts them, so
 * that a batch that is delivered again counts once. They are valid also when the call throws: the next one
 * finds these batches in the ledger.
 *
 * A batch whose answer was lost is not counted: no later call can distinguish it from one that was counted.
 */
export class Outcomes {
  readonly #entered = new Map<string, Entered>()

  /** Adds a batch that this call entered in the ledger. */
  enter(
    { transactionId, plan }: Pick<NewBatch, "transactionId" | "plan">,
    {
      rows,
      failures,
    }: { rows: readonly { index: number; duplicate: boolean }[]; failures: readonly Failure[] },
  ): void {
    const planned = new Map(plan.rows.map((row) => [row.index, row]))
    const entered: Entered = { stored: new Map(), duplicates: new Set(), failures: new Map() }
    for (const { index, duplicate } of rows) {
      const row = planned.get(index)
      if (duplicate) entered.duplicates.add(index)
      else if (row) entered.stored.set(index, row)
    }
    this.#entered.set(transactionId, entered)
    for (const failure of failures) this.fail(transactionId, failure)
  }

  /**
   * Replaces the outcome of a signal by a failure, such as that of an edit. A batch of another call stays as
   * that call counted it.
   */
  fail(transactionId: string, failure: Failure): void {
    const entered = this.#entered.get(transactionId)
    entered?.stored.delete(failure.index)
    entered?.duplicates.delete(failure.index)
    entered?.failures.set(failure.index, failure)
  }

  counts(): SignalCounts {
    const all = [...this.#entered.values()]
    const stored = all.flatMap((entered) => [...entered.stored.values()])
    return {
      stored: stored.length,
      sources: countSources(stored),
      duplicates: all.reduce((sum, { duplicates }) => sum + duplicates.size, 0),
      failures: all.flatMap(({ failures }) => [...failures.values()]),
    }
  }
}
