import { MAPPERS, type MappingSettings } from "../bridges/mappers.ts"
import { type DeliveryPlan, planDelivery } from "../bridges/plan-delivery.ts"
import type { ScorePlan } from "../scores/plan.ts"
import { parseJson } from "../signals/json.ts"
import type { BatchPlan, Delivered } from "../signals/plan.ts"
import type { BulkReplayAnswer, DeadLetterRecord, Failure, ReplayAnswer } from "../signals/responses.ts"
import type { TimeLimit } from "../signals/rules.ts"
import { assertOutcome, BatchRefused, type NewBatch } from "../store/batches/batch.ts"
import { type WrittenDeliveries, writeTogether } from "../store/batches/deliveries.ts"
import { writeScores } from "../store/batches/scores.ts"
import { writeBatch } from "../store/batches/write.ts"
import type { Database } from "../store/database/connection.ts"
import { DatabaseError } from "../store/database/errors.ts"
import {
  chosenDeadLetters,
  type DeadLetterChoice,
  deleteDeadLetter,
  settleDeadLetter,
  settleReplayed,
} from "../store/dead-letters/store.ts"
import { cutIntoChunks } from "./chunks.ts"
import type { IngestContext } from "./context.ts"

export type ReplayContext = Pick<IngestContext, "db" | "queue"> &
  MappingSettings & {
    /** The time limit by the clock of the replay. */
    timeLimit: TimeLimit
  }

export interface ReplayedDeadLetter {
  answer: ReplayAnswer
  /** The plan that this replay stored; undefined when it stored nothing new. */
  stored: BatchPlan | undefined
}

/**
 * Stores a dead letter, or sends it to the queue again when it is a whole message, and marks it as replayed.
 * It is stored once, even when it is replayed several times.
 *
 * @throws {BatchInDoubt} it may be stored; a retry is safe
 * @throws {DatabaseError} nothing was stored, unless it may have run: then it may also be stored and not
 *   marked. A retry is safe
 */
export async function replayDeadLetter(
  context: ReplayContext,
  deadLetter: DeadLetterRecord,
): Promise<ReplayedDeadLetter> {
  const replay = deadLetter.source === "queue" ? sendAgain : storeAgain
  const replayed = await replay(context, deadLetter)
  if (replayed.answer.replayed)
    await settleDeadLetter(context.db, deadLetter.id, "replayed").catch(afterChanges)
  return replayed
}

/** Stores a score, which waits again where its signal has not come. */
async function scoreAgain(
  { db }: ReplayContext,
  { caller, replay_transaction_id: transactionId }: DeadLetterRecord,
  plan: ScorePlan,
): Promise<ReplayedDeadLetter> {
  // All or nothing, so that one that fails leaves no ledger row, which would be its outcome for ever.
  const batch = { kind: "scores", transactionId, caller, plan, allOrNothing: true } as const
  const failure = await writeScores(db, batch).then(({ failures }) => failures[0], firstRefused)
  if (failure) return stays(failure.error)
  return { answer: { replayed: true, transaction_id: transactionId }, stored: undefined }
}

/** An error after something was stored or sent no longer means that nothing was. */
function afterChanges(error: unknown): never {
  throw error instanceof DatabaseError ? error.withDoubt(true) : error
}

function thrown(error: unknown): never {
  throw error
}

/** Stores the record under the dead letter's own transaction id. */
async function storeAgain(context: ReplayContext, deadLetter: DeadLetterRecord): Promise<ReplayedDeadLetter> {
  const planned = planOf(context, deadLetter)
  if (typeof planned === "string") return stays(planned)
  const { plan, scores } = planned
  if (scores.total > 0) return scoreAgain(context, deadLetter, scores)
  const failure = await failureOf(context.db, replayBatchOf(deadLetter, plan))
  if (failure?.code === "suppressed") return stays(await deleteSuppressed(context, deadLetter.id, failure))
  if (failure) return stays(failure.error)
  // The record counted as failed when it came in, and counts as stored once.
  return {
    answer: { replayed: true, transaction_id: deadLetter.replay_transaction_id },
    stored: deadLetter.state === "replayed" ? undefined : plan,
  }
}

/**
 * Stores a batch of one signal.
 * @returns its failure, also that of an edit, which fails after its row was written
 */
const failureOf = (db: Database, batch: NewBatch): Promise<Failure | undefined> =>
  writeBatch(db, batch).then((written) => {
    assertOutcome(batch.transactionId, written, batch.plan.total)
    return written.failures[0]
  }, firstRefused)

/** The first failure of a batch that was refused. @throws any other error */
function firstRefused(error: unknown): Failure {
  if (error instanceof BatchRefused && error.failures[0]) return error.failures[0]
  throw error
}

/**
 * Deletes a dead letter about a suppressed subject, which must not be kept.
 * @returns the reason why it was not replayed
 */
async function deleteSuppressed(
  { db }: Pick<ReplayContext, "db">,
  id: number,
  { error }: Failure,
): Promise<string> {
  await deleteDeadLetter(db, id)
  return `${error}. The dead letter was deleted.`
}

/** All or nothing, since it is one signal. */
const replayBatchOf = ({ replay_transaction_id, caller }: DeadLetterRecord, plan: BatchPlan) => ({
  transactionId: replay_transaction_id,
  caller,
  plan,
  allOrNothing: true as const,
})

/** Maps the record as its entry point does now. A sentence is the reason why it cannot be stored. */
function planOf(
  context: Omit<ReplayContext, "db" | "queue">,
  deadLetter: DeadLetterRecord,
): Pick<DeliveryPlan, "plan" | "scores"> | string {
  if (deadLetter.truncated) return TRUNCATED
  // A record without a timestamp gets that of its dead letter. A timestamp that was too far in the future may
  // be valid by now.
  const { plan, scores, skipped } = planDelivery(
    [deliveredOf(deadLetter, context)],
    deadLetter.created_at,
    context,
  )
  const [failure] = plan.failures
  if (failure) return failure.error
  if (plan.total + scores.total > 0) return { plan, scores }
  return `Its kind is skipped: ${Object.keys(skipped).join()}.`
}

function deliveredOf({ source, record }: DeadLetterRecord, settings: MappingSettings): Delivered {
  // The record of a signal that only the database refused, or of an unreadable message.
  if (source === "signal" || source === "queue")
    return { signal: parseJson(record) as Record<string, unknown> }
  if (source === "score") return { score: parseJson(record) as Record<string, unknown> }
  return MAPPERS[source](record, settings)
}

/** The message's batch has its own transaction id, so it is stored once. */
async function sendAgain(
  { queue }: ReplayContext,
  { record, truncated }: DeadLetterRecord,
): Promise<ReplayedDeadLetter> {
  if (truncated) return stays(TRUNCATED)
  if (!queue) return stays(NO_QUEUE)
  await queue.send(JSON.parse(record), { contentType: "text" })
  return { answer: { replayed: true }, stored: undefined }
}

const TRUNCATED = "Only the first MiB of the record is kept. Send the record again from its source."

const NO_QUEUE = "There is no queue to send it to."

const stays = (reason: string): ReplayedDeadLetter => ({
  answer: { replayed: false, reason },
  stored: undefined,
})

export interface ReplayedDeadLetters {
  answer: BulkReplayAnswer
  /** The signals that this call stored. */
  stored: BatchPlan
}

interface Planned {
  deadLetter: DeadLetterRecord
  plan: BatchPlan
}

/**
 * Replays many dead letters, oldest first, many in one statement. Each is stored once, even when it is
 * replayed several times.
 *
 * @throws {BatchInDoubt} some may be stored; a retry is safe
 * @throws {DatabaseError} nothing was stored, unless it may have run; a retry is safe
 */
export async function replayDeadLetters(
  context: ReplayContext,
  choice: DeadLetterChoice,
): Promise<ReplayedDeadLetters> {
  const { deadLetters, next } = await chosenDeadLetters(context.db, choice)
  const reasons = new Map<number, string>()
  const planned: Planned[] = []
  const scored: DeadLetterRecord[] = []
  for (const deadLetter of deadLetters) {
    if (deadLetter.source === "queue" && !deadLetter.truncated) continue
    const plans = planOf(context, deadLetter)
    if (typeof plans === "string") reasons.set(deadLetter.id, plans)
    else if (plans.scores.total > 0) scored.push(deadLetter)
    else planned.push({ deadLetter, plan: plans.plan })
  }
  const messages = deadLetters.filter(({ source, truncated }) => source === "queue" && !truncated)
  for (const id of await sendAllAgain(context, messages)) reasons.set(id, NO_QUEUE)
  const weighed = planned.map((item) => ({ item, bytes: item.deadLetter.record.length, rows: 1 }))
  let isChanged = messages.length > 0
  for (const chunk of cutIntoChunks(weighed)) {
    const stay = await storeChunk(context, chunk).catch(isChanged ? afterChanges : thrown)
    for (const [id, reason] of stay) reasons.set(id, reason)
    isChanged = true
  }

  for (const deadLetter of scored) {
    const { answer } = await replayDeadLetter(context, deadLetter).catch(isChanged ? afterChanges : thrown)
    if (!answer.replayed) reasons.set(deadLetter.id, answer.reason ?? "")
    isChanged = true
  }

  const added = planned.filter(
    ({ deadLetter }) => !reasons.has(deadLetter.id) && deadLetter.state !== "replayed",
  )
  const rows = added.flatMap(({ plan }) => plan.rows)
  const failures = [...reasons].map(([id, reason]) => ({ id, reason })).sort((a, b) => a.id - b.id)
  return {
    answer: {
      replayed_count: deadLetters.length - failures.length,
      failed_count: failures.length,
      failures,
      next_cursor: next === null ? null : String(next),
    },
    stored: { total: rows.length, rows, failures: [] },
  }
}

/** `sendBatch` accepts 100 messages and 256 KB; a message has up to 127 KB. */
const MESSAGES_BYTES = 128 * 1024

/** @returns the ids of those that were not replayed */
async function sendAllAgain(
  { db, queue }: ReplayContext,
  deadLetters: readonly DeadLetterRecord[],
): Promise<number[]> {
  if (!queue) return deadLetters.map(({ id }) => id)
  for (let start = 0, end = 0; start < deadLetters.length; start = end) {
    let bytes = 0
    do bytes += deadLetters[end++]?.record.length ?? 0
    while (
      end < deadLetters.length &&
      end - start < 100 &&
      bytes + (deadLetters[end]?.record.length ?? 0) < MESSAGES_BYTES
    )
    const sent = deadLetters.slice(start, end)
    await queue.sendBatch(sent.map(({ record }) => ({ body: JSON.parse(record), contentType: "text" })))
    await settleReplayed(
      db,
      sent.map(({ id }) => id),
    ).catch(afterChanges)
  }
  return []
}

/**
 * Stores a chunk in one statement, or one by one when the database refuses one of them. Returns the reasons
 * of those that stay, by id.
 */
async function storeChunk(context: ReplayContext, chunk: readonly Planned[]): Promise<Map<number, string>> {
  const reasons = new Map<number, string>()
  try {
    const deliveries = chunk.map(({ deadLetter, plan }) => ({
      batch: { ...replayBatchOf(deadLetter, plan), allOrNothing: false as const },
      deadLetters: [],
    }))
    const { suppressed } = await writeTogether(context.db, deliveries)
    await settleChunk(context, chunk, suppressed, reasons).catch(afterChanges)
  } catch (error) {
    if (!(error instanceof DatabaseError) || error.kind !== "refused") throw error
    for (const [position, { deadLetter }] of chunk.entries()) {
      const { answer } = await replayDeadLetter(context, deadLetter).catch(
        position > 0 ? afterChanges : thrown,
      )
      if (!answer.replayed) reasons.set(deadLetter.id, answer.reason ?? "")
    }
  }
  return reasons
}

/** Deletes those of a stored chunk that were suppressed, adds their reasons, and marks the others. */
async function settleChunk(
  context: ReplayContext,
  chunk: readonly Planned[],
  suppressed: WrittenDeliveries["suppressed"],
  reasons: Map<number, string>,
): Promise<void> {
  for (const { transactionId, failure } of suppressed) {
    const id = chunk.find(({ deadLetter }) => deadLetter.replay_transaction_id === transactionId)?.deadLetter
      .id
    if (id !== undefined) reasons.set(id, await deleteSuppressed(context, id, failure))
  }
  const ids = chunk.map(({ deadLetter }) => deadLetter.id)
  await settleReplayed(
    context.db,
    ids.filter((id) => !reasons.has(id)),
  )
}
