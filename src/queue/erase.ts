import { mentions, type SubjectField, withoutSuppressed } from "../signals/erasure.ts"
import type { SignalRow } from "../signals/schema.ts"
import { CLAIM_CHECK_PREFIXES } from "./claim-checks.ts"
import { messageText, readMessage } from "./messages.ts"

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
  const text = messageText({ version: 1, kind: "delivery", delivery })
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

/** The most objects that one call reads; an object can have about 20 MB. */
const MAX_LOOKED_THROUGH = 100

/**
 * The prefixes of objects, in the order of their names. `unreadable/` has objects that no version of the
 * service can read.
 */
const PREFIXES = [...CLAIM_CHECK_PREFIXES, "unreadable/"] as const

export interface FoundObjects {
  /** Names of the claim checks that hold the subject. */
  waiting: string[]
  /** Names of the objects that hold the subject and cannot be stored. */
  unreadable: string[]
  /** The position after the objects that were read; undefined after the last object. */
  next: string | undefined
}

/**
 * Finds the objects that hold a subject, after a position.
 *
 * @param options.position the name of the last object that was read; "" at the beginning
 * @param options.before only objects that were put before this time
 */
export async function findWaiting(
  bucket: R2Bucket,
  { position, before, subject }: { position: string; before: Date; subject: string },
): Promise<FoundObjects> {
  const found: FoundObjects = { waiting: [], unreadable: [], next: undefined }
  let left = MAX_LOOKED_THROUGH
  for (const prefix of PREFIXES) {
    // The names of this prefix come before the position.
    if (position > `${prefix}\uffff`) continue
    const startAfter = position.startsWith(prefix) ? position : undefined
    const { objects, truncated } = await bucket.list({
      prefix,
      limit: left,
      ...(startAfter !== undefined && { startAfter }),
    })
    for (const { key, uploaded } of objects) {
      if (uploaded > before) continue
      const text = await (await bucket.get(key))?.text()
      if (text !== undefined && mentions(text, subject))
        found[prefix === "unreadable/" ? "unreadable" : "waiting"].push(key)
    }
    left -= objects.length
    if (truncated || left === 0) return { ...found, next: objects.at(-1)?.key ?? position }
  }
  return found
}

/** @returns the number of deleted objects */
export async function removeUnreadable(bucket: R2Bucket, objects: string[]): Promise<number> {
  if (objects.length > 0) await bucket.delete(objects)
  return objects.length
}
