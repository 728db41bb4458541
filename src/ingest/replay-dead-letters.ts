import type { BatchPlan } from "../signals/plan.ts"
import type { BulkReplayAnswer, DeadLetterRecord } from "../signals/responses.ts"
import { writeTogether } from "../store/batches/deliveries.ts"
import { DatabaseError } from "../store/database/errors.ts"
import { chosenDeadLetters, type LetterChoice, settleReplayed } from "../store/dead-letters/store.ts"
import { cutIntoPieces } from "./pieces.ts"
import {
  deleteSuppressed,
  NO_QUEUE,
  planOf,
  type ReplayContext,
  replayBatchOf,
  replayDeadLetter,
} from "./replay-dead-letter.ts"

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
  for (const id of await sendAgain(context, messages)) reasons.set(id, NO_QUEUE)
  const weighed = planned.map((item) => ({ item, bytes: item.letter.record.length, rows: 1 }))
  for (const piece of cutIntoPieces(weighed))
    for (const [id, reason] of await storePiece(context, piece)) reasons.set(id, reason)

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
async function sendAgain(
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
 * Stores a piece in one statement, or one by one when the database refuses one of them. Returns the reasons
 * of those that stay, by id.
 */
async function storePiece(context: ReplayContext, piece: readonly Planned[]): Promise<Map<number, string>> {
  const reasons = new Map<number, string>()
  try {
    const deliveries = piece.map(({ letter, plan }) => ({
      batch: { ...replayBatchOf(letter, plan), allOrNothing: false as const },
      letters: [],
    }))
    const { suppressed } = await writeTogether(context.db, deliveries)
    for (const { transactionId, failure } of suppressed) {
      const id = piece.find(({ letter }) => letter.replay_transaction_id === transactionId)?.letter.id
      if (id !== undefined) reasons.set(id, await deleteSuppressed(context, id, failure))
    }
    const ids = piece.map(({ letter }) => letter.id)
    await settleReplayed(
      context.db,
      ids.filter((id) => !reasons.has(id)),
    )
  } catch (error) {
    if (!(error instanceof DatabaseError) || error.kind !== "refused") throw error
    for (const { letter } of piece) {
      const { answer } = await replayDeadLetter(context, letter)
      if (!answer.replayed) reasons.set(letter.id, answer.reason ?? "")
    }
  }
  return reasons
}
