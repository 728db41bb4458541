import { ROW_FIELDS, redactMessageRecord } from "../queue/erase.ts"
import { messageText, readMessage } from "../queue/messages.ts"
import type { Subjects } from "../signals/erasure.ts"
import type { Database } from "../store/database/connection.ts"
import { type DeadLetter, insertMessageDeadLetters, type RecordedRow } from "../store/dead-letters/store.ts"
import { keepErasedKeys } from "../store/lifecycle/suppression.ts"

/** A message that becomes a dead letter. */
export type LostMessage = Pick<Message<unknown>, "id" | "body">

/**
 * Stores the dead letters of messages, without the signals of subjects that were erased or suppressed since
 * their acceptance. Safe to repeat.
 *
 * @throws {DatabaseError} some or none of them are stored
 */
export async function keepDeadLetters(db: Database, messages: readonly LostMessage[]): Promise<void> {
  const deadLetters = await Promise.all(messages.map(deadLetterOfMessage))
  const rows = messages.flatMap(({ body }) => rowsOf(body))
  if (!(await insertMessageDeadLetters(db, deadLetters, rows))) return
  for (const message of messages) await keepWithoutSuppressed(db, message)
}

/** Each round removes at least one subject, so that the rounds end. */
async function keepWithoutSuppressed(db: Database, message: LostMessage): Promise<void> {
  const rows = rowsOf(message.body)
  const refused = await insertMessageDeadLetters(db, [await deadLetterOfMessage(message)], rows)
  if (!refused) return
  let record = JSON.stringify(message.body)
  for (const [index, field] of refused.suppressed) {
    const subject = rows[index]?.[ROW_FIELDS[field]]
    if (typeof subject !== "string") continue
    const { left, removed } = redactMessageRecord(record, { field, text: subject })
    if (removed) await keepErasedKeys(db, removed.transactionId, removed.rows)
    if (left === undefined) return
    record = left
  }
  await keepWithoutSuppressed(db, { ...message, body: JSON.parse(record) })
}

/** The signals in a message, and its dead letters whose subjects are known. */
function rowsOf(body: unknown): RecordedRow[] {
  const message = readMessage(body)
  if (message?.kind !== "delivery") return []
  const { batch, deadLetters } = message.delivery
  const { transactionId } = batch
  return [
    ...batch.plan.rows.map(({ userId, agentId, contextWindowId }) => ({
      transactionId,
      userId,
      agentId,
      contextWindowId,
    })),
    ...deadLetters
      .flatMap(({ subjects = [] }) => subjects)
      .map(({ user_id = null, agent_id = null, context_window_id = null }) => ({
        transactionId,
        userId: user_id,
        agentId: agent_id,
        contextWindowId: context_window_id,
      })),
  ]
}

/**
 * The dead letter of a message. Its identity derives from the message's id, so that a redelivered message has
 * one dead letter.
 */
const deadLetterOfMessage = ({ id, body }: LostMessage): Promise<DeadLetter> =>
  deadLetterOf(id, { ...(readMessage(body) ? UNPROCESSED : UNREADABLE), subjects: subjectsOf(body) }, body)

/** The subjects of the signals and dead letters in a message. */
const subjectsOf = (body: unknown): Subjects[] =>
  rowsOf(body).map(({ userId, agentId, contextWindowId }) => ({
    ...(userId !== null && { user_id: userId }),
    ...(agentId !== null && { agent_id: agentId }),
    ...(contextWindowId !== null && { context_window_id: contextWindowId }),
  }))

const UNPROCESSED = {
  code: "unprocessed_message",
  reason: "It could not be stored in any attempt. Repair the cause, then replay it.",
} as const
const UNREADABLE = { code: "unreadable_message", reason: "No version of the service reads it." } as const

/**
 * The dead letter of an unreadable claim check, one for each object. Its record is the message that names the
 * object.
 */
export const deadLetterOfClaimCheck = (object: string, keptAs: string): Promise<DeadLetter> =>
  deadLetterOf(
    keptAs,
    {
      code: "unreadable_message",
      reason: `No version of the service reads the object ${object} of the bucket. It is kept as ${keptAs}.`,
    },
    messageText({ version: 1, kind: "claim_check", object: keptAs }),
  )

async function deadLetterOf(
  identity: string,
  why: Pick<DeadLetter, "reason" | "code" | "subjects">,
  body: unknown,
): Promise<DeadLetter> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(identity))
  const transactionId = new Uint8Array(digest, 0, 16).toHex()
  return {
    transactionId,
    index: 0,
    source: "queue",
    caller: "queue",
    ...why,
    record: JSON.stringify(body ?? null),
  }
}
