import { mentions, type SubjectField, withoutSuppressed } from "../signals/lifecycle/erasure.ts"
import type { SignalRow } from "../signals/schema.ts"
import { messageText, readMessage, versionOf } from "./messages.ts"

/** The name in a row of each field that can hold the subject of an erasure. */
export const ROW_FIELDS = {
  user_id: "userId",
  agent_id: "agentId",
  context_window_id: "contextWindowId",
} as const

/** The record of a dead letter after the removal of a subject. */
export interface RedactedRecord {
  /**
   * Undefined when the record cannot be kept: the subject is still in it, or no version of the service can
   * read it.
   */
  left: string | undefined
  /** The removed rows, and the batch that they came with. */
  removed: { transactionId: string; rows: SignalRow[] } | undefined
}

/**
 * Removes a subject from the record of a dead letter that is a message of the queue. The message can hold
 * signals of other subjects, so only the subject's signals are removed, and become failures.
 */
export function redactMessageRecord(record: string, field: SubjectField, subject: string): RedactedRecord {
  const message = readMessage(bodyOf(record))
  if (message?.kind !== "delivery") return { left: undefined, removed: undefined }
  const { batch, letters } = message.delivery
  const isRemoved = (row: SignalRow) => row[ROW_FIELDS[field]] === subject
  const places = batch.plan.rows.flatMap((row, place): [number, SubjectField][] =>
    isRemoved(row) ? [[place, field]] : [],
  )
  const delivery = {
    batch: { ...batch, plan: withoutSuppressed(batch.plan, new Map(places)) },
    letters: letters.filter((letter) => !mentions(letter.record, subject)),
  }
  const text = messageText({ version: versionOf([delivery.batch]), kind: "delivery", delivery })
  return {
    left: mentions(text, subject) ? undefined : JSON.stringify(text),
    removed: { transactionId: batch.transactionId, rows: batch.plan.rows.filter(isRemoved) },
  }
}

/** Undefined when the record is truncated. */
function bodyOf(record: string): unknown {
  try {
    return JSON.parse(record)
  } catch {
    return undefined
  }
}
