import type { Delivered } from "../bridges/delivery.ts"
import type { FieldMapping } from "../bridges/kafka/field-mapping.ts"
import { mapKafkaRecord } from "../bridges/kafka/requests.ts"
import { planDelivery } from "../bridges/plan-delivery.ts"
import { mapSlackEvent } from "../bridges/slack/events.ts"
import { parseJson } from "../signals/json.ts"
import type { BatchPlan } from "../signals/plan.ts"
import type { DeadLetterRecord, Failure, ReplayAnswer } from "../signals/responses.ts"
import type { TimeLimit } from "../signals/rules.ts"
import { BatchRefused, type NewBatch } from "../store/batches/batch.ts"
import { writeBatch } from "../store/batches/write.ts"
import type { Database } from "../store/database/connection.ts"
import { deleteLetter, settleDeadLetter } from "../store/dead-letters/store.ts"
import type { IngestContext } from "./context.ts"

export type ReplayContext = Pick<IngestContext, "db" | "queue"> & {
  /** The present mapping of Kafka records. */
  mapping: FieldMapping
  followSlackEdits: boolean
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
 * @throws {DatabaseError} it may be stored and not marked; a retry is safe
 */
export async function replayDeadLetter(
  context: ReplayContext,
  letter: DeadLetterRecord,
): Promise<ReplayedDeadLetter> {
  const replayed =
    letter.source === "queue" ? await sendAgain(context, letter) : await storeAgain(context, letter)
  if (replayed.answer.replayed) await settleDeadLetter(context.db, letter.id, "replayed")
  return replayed
}

/** Stores the record under the dead letter's own transaction id. */
async function storeAgain(context: ReplayContext, letter: DeadLetterRecord): Promise<ReplayedDeadLetter> {
  const plan = planOf(context, letter)
  if (typeof plan === "string") return stays(plan)
  const failure = await failureOf(context.db, replayBatchOf(letter, plan))
  if (failure?.code === "suppressed") return stays(await deleteSuppressed(context, letter.id, failure))
  if (failure) return stays(failure.error)
  // The record counted as failed when it came in, and counts as stored once.
  return {
    answer: { replayed: true, transaction_id: letter.replay_transaction_id },
    stored: letter.state === "replayed" ? undefined : plan,
  }
}

/**
 * Stores a batch of one signal.
 * @returns its failure, also that of an edit, which fails after its row was written
 */
async function failureOf(db: Database, batch: NewBatch): Promise<Failure | undefined> {
  try {
    return (await writeBatch(db, batch)).failures[0]
  } catch (error) {
    if (error instanceof BatchRefused && error.failures[0]) return error.failures[0]
    throw error
  }
}

/**
 * Deletes a dead letter about a suppressed subject, which must not be kept.
 * @returns the reason why it was not replayed
 */
export async function deleteSuppressed(
  { db }: Pick<ReplayContext, "db">,
  id: number,
  { error }: Failure,
): Promise<string> {
  await deleteLetter(db, id)
  return `${error}. The dead letter was deleted.`
}

/** All or nothing, since it is one signal. */
export const replayBatchOf = ({ replay_transaction_id, caller }: DeadLetterRecord, plan: BatchPlan) => ({
  transactionId: replay_transaction_id,
  caller,
  plan,
  allOrNothing: true as const,
})

/** Maps the record as its entry point does now. A sentence is the reason why it cannot be stored. */
export function planOf(
  context: Omit<ReplayContext, "db" | "queue">,
  letter: DeadLetterRecord,
): BatchPlan | string {
  if (letter.truncated) return TRUNCATED
  // A record without a timestamp gets that of its dead letter. A timestamp that was too far in the future may
  // be valid by now.
  const { plan, skipped } = planDelivery([deliveredOf(letter, context)], letter.created_at, context)
  const [failure] = plan.failures
  if (failure) return failure.error
  return plan.total > 0 ? plan : `Its kind is skipped: ${Object.keys(skipped).join()}.`
}

function deliveredOf(
  { source, record }: DeadLetterRecord,
  { mapping, followSlackEdits }: Pick<ReplayContext, "mapping" | "followSlackEdits">,
): Delivered {
  const value = parseJson(record)
  if (source === "slack") return mapSlackEvent(value, { followEdits: followSlackEdits })
  if (source === "kafka") return mapKafkaRecord(value as Parameters<typeof mapKafkaRecord>[0], mapping)
  return { signal: value as Record<string, unknown> }
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

export const TRUNCATED = "Only the first MiB of the record is kept. Send the record again from its source."

export const NO_QUEUE = "There is no queue to send it to."

const stays = (reason: string): ReplayedDeadLetter => ({
  answer: { replayed: false, reason },
  stored: undefined,
})
