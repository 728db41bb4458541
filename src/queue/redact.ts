import { type SubjectField, withoutSuppressed } from "../signals/lifecycle/erasure.ts"
import { mentions } from "../store/lifecycle/needles.ts"
import { messageText, readMessage, versionOf } from "./messages.ts"

const ROW_FIELDS = { user_id: "userId", agent_id: "agentId", context_window_id: "contextWindowId" } as const

/**
 * Removes a subject from the record of a dead letter that is a message of the queue. The message can hold signals of other subjects, so only
 * the subject's signals are removed, and become failures.
 *
 * @returns undefined when the record cannot be kept: the subject is still in it, or no version of the service can read it
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
  const text = messageText({ version: versionOf([delivery.batch]), kind: "delivery", delivery })
  return mentions(text, subject) ? undefined : JSON.stringify(text)
}

/** Undefined when the record is truncated. */
function bodyOf(record: string): unknown {
  try {
    return JSON.parse(record)
  } catch {
    return undefined
  }
}
