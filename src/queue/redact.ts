import { type SubjectField, withoutSuppressed } from "../signals/lifecycle/erasure.ts"
import { mentions } from "../store/lifecycle/needles.ts"
import { messageText, readMessage } from "./messages.ts"

const ROW_FIELDS = { user_id: "userId", agent_id: "agentId", context_window_id: "contextWindowId" } as const

/**
 * Removes a subject from the record of a dead letter that is a whole message of the queue, which may hold signals of others, too: the
 * subject's signals become failures, and what they carried is gone.
 *
 * @returns undefined when nothing can be kept of it: the subject is still in it, or no version of the service reads it
 */
export function redactMessageRecord(record: string, field: SubjectField, subject: string): string | undefined {
  const message = readMessage(bodyOf(record))
  if (message?.kind !== "delivery") return undefined
  const { batch, letters } = message.delivery
  const refused = batch.plan.rows.flatMap((row, place): [number, SubjectField][] =>
    row[ROW_FIELDS[field]] === subject ? [[place, field]] : [],
  )
  const delivery = {
    batch: { ...batch, plan: withoutSuppressed(batch.plan, new Map(refused)) },
    letters: letters.filter((letter) => !mentions(letter.record, subject)),
  }
  const text = messageText({ version: 1, kind: "delivery", delivery })
  return mentions(text, subject) ? undefined : JSON.stringify(text)
}

/** Undefined where only the beginning of the record was kept. */
function bodyOf(record: string): unknown {
  try {
    return JSON.parse(record)
  } catch {
    return undefined
  }
}
