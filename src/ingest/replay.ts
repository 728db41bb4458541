import { MAPPERS, type MappingSettings } from "../bridges/mappers.ts"
import { planDelivery } from "../bridges/plan-delivery.ts"
import { parseJson } from "../signals/json.ts"
import type { BatchPlan, Delivered } from "../signals/plan.ts"
import type { BulkReplayAnswer, DeadLetterRecord, Failure, ReplayAnswer } from "../signals/responses.ts"
import type { TimeLimit } from "../signals/rules.ts"
import { BatchRefused, type NewBatch } from "../store/batches/batch.ts"
import { writeTogether } from "../store/batches/deliveries.ts"
import { writeBatch } from "../store/batches/write.ts"
import type { Database } from "../store/database/connection.ts"
import { DatabaseError } from "../store/database/errors.ts"
import {
  chosenDeadLetters,
  deleteLetter,
  type LetterChoice,
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

function deliveredOf({ source, record }: DeadLetterRecord, settings: MappingSettings): Delivered {
  // The record of a signal that only the database refused, or of an unreadable message.
  if (source === "signal" || source === "queue")
    return { signal: parseJson(record) as Record<string, unknown> }
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

export const TRUNCATED = "Only the first MiB of the record is kept. Send the record again from its source."

export const NO_QUEUE = "There is no queue to send it to."

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
  letter: DeadLetterRecord
  plan: BatchPlan
}

/**
 * Replays many dead letters, oldest first, many in one statement. Each is stored once, even when it is
 * replayed several times.
 *
 * @throws {BatchInDoubt} some may be stored; a retry is safe
 * @throws {DatabaseError} some may be stored; a retry is safe
 */
export async function replayDeadLetters(
  context: ReplayContext,
  choice: LetterChoice,
): Promise<ReplayedDeadLetters> {
  const { letters, next } = await chosenDeadLetters(context.db, choice)
  const reasons = new Map<number, string>()
  const planned: Planned[] = []
  for (const letter of letters) {
    if (letter.source === "queue" && !letter.truncated) continue
    const plan = planOf(context, letter)
    if (typeof plan === "string") reasons.set(letter.id, plan)
    else planned.push({ letter, plan })
  }
  const messages = letters.filter(({ source, truncated }) => source === "queue" && !truncated)
  for (const id of await sendAllAgain(context, messages)) reasons.set(id, NO_QUEUE)
  const weighed = planned.map((item) => ({ item, bytes: item.letter.record.length, rows: 1 }))
  for (const chunk of cutIntoChunks(weighed))
    for (const [id, reason] of await storeChunk(context, chunk)) reasons.set(id, reason)

  const added = planned.filter(({ letter }) => !reasons.has(letter.id) && letter.state !== "replayed")
  const rows = added.flatMap(({ plan }) => plan.rows)
  const failures = [...reasons]
    .map(([id, reason]) => ({ id, reason }))
    .sort((one, other) => one.id - other.id)
  return {
    answer: {
      replayed_count: letters.length - failures.length,
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
  letters: readonly DeadLetterRecord[],
): Promise<number[]> {
  if (!queue) return letters.map(({ id }) => id)
  for (let start = 0, end = 0; start < letters.length; start = end) {
    let bytes = 0
    do bytes += letters[end++]?.record.length ?? 0
    while (
      end < letters.length &&
      end - start < 100 &&
      bytes + (letters[end]?.record.length ?? 0) < MESSAGES_BYTES
    )
    const sent = letters.slice(start, end)
    await queue.sendBatch(sent.map(({ record }) => ({ body: JSON.parse(record), contentType: "text" })))
    await settleReplayed(
      db,
      sent.map(({ id }) => id),
    )
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
    const deliveries = chunk.map(({ letter, plan }) => ({
      batch: { ...replayBatchOf(letter, plan), allOrNothing: false as const },
      letters: [],
    }))
    const { suppressed } = await writeTogether(context.db, deliveries)
    for (const { transactionId, failure } of suppressed) {
      const id = chunk.find(({ letter }) => letter.replay_transaction_id === transactionId)?.letter.id
      if (id !== undefined) reasons.set(id, await deleteSuppressed(context, id, failure))
    }
    const ids = chunk.map(({ letter }) => letter.id)
    await settleReplayed(
      context.db,
      ids.filter((id) => !reasons.has(id)),
    )
  } catch (error) {
    if (!(error instanceof DatabaseError) || error.kind !== "refused") throw error
    for (const { letter } of chunk) {
      const { answer } = await replayDeadLetter(context, letter)
      if (!answer.replayed) reasons.set(letter.id, answer.reason ?? "")
    }
  }
  return reasons
}
