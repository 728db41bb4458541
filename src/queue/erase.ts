import { mentions, type SubjectField, withoutSuppressed } from "../signals/erasure.ts"
import type { SignalRow } from "../signals/schema.ts"
import type { NewBatch } from "../store/batches/batch.ts"
import type { Delivery } from "../store/batches/deliveries.ts"
import type { DeadLetter } from "../store/dead-letters/store.ts"
import { CLAIM_CHECK_PREFIXES, type ClaimCheck, readClaimCheck } from "./claim-checks.ts"
import { messageText, readMessage, versionOf } from "./messages.ts"

/** The name in a row of each field that can hold the subject of an erasure. */
export const ROW_FIELDS = {
  user_id: "userId",
  agent_id: "agentId",
  context_window_id: "contextWindowId",
} as const

/** The subject of an erasure. */
export interface Subject {
  field: SubjectField
  text: string
}

/** The record of a dead letter after the removal of a subject. */
export interface RedactedRecord {
  /** Undefined when nothing is left in it. */
  left: string | undefined
  /** The removed rows, and the batch that they came with. */
  removed: { transactionId: string; rows: SignalRow[] } | undefined
}

/**
 * Removes a subject from the record of a dead letter that is a message of the queue. The message can hold
 * signals of other subjects, so only the subject's signals are removed, and become failures. A record that
 * no version of the service reads stays as it is.
 *
 * @param isCovered whether the erasure covers a batch, by its transaction id
 */
export function redactMessageRecord(
  record: string,
  { field, text: subject }: Subject,
  isCovered: (transactionId: string) => boolean = () => true,
): RedactedRecord {
  const message = readMessage(bodyOf(record))
  if (message?.kind !== "delivery" || !isCovered(message.delivery.batch.transactionId))
    return { left: record, removed: undefined }
  const { batch, deadLetters, scores } = message.delivery
  const isRemoved = (row: SignalRow) => row[ROW_FIELDS[field]] === subject
  const positions = batch.plan.rows.flatMap((row, index): [number, SubjectField][] =>
    isRemoved(row) ? [[index, field]] : [],
  )
  const delivery = {
    batch: { ...batch, plan: withoutSuppressed(batch.plan, new Map(positions)) },
    deadLetters: deadLetters.filter(({ subjects }) => !namesSubject(subjects, { field, text: subject })),
    scores,
  }
  const isEmpty = delivery.batch.plan.rows.length === 0 && delivery.deadLetters.length === 0 && !scores
  return {
    left: isEmpty
      ? undefined
      : JSON.stringify(messageText({ version: versionOf([delivery]), kind: "delivery", delivery })),
    removed: { transactionId: batch.transactionId, rows: batch.plan.rows.filter(isRemoved) },
  }
}

const namesSubject = (subjects: DeadLetter["subjects"], { field, text }: Subject): boolean =>
  [subjects ?? []].flat().some((named) => named[field] === text)

/** Whether a delivery has the subject: in a signal, or in a record that cannot become a signal. */
const isAbout = (
  { batch, deadLetters }: Pick<Delivery, "deadLetters"> & { batch: Pick<NewBatch, "plan"> },
  subject: Subject,
) =>
  batch.plan.rows.some((row) => row[ROW_FIELDS[subject.field]] === subject.text) ||
  deadLetters.some(({ subjects }) => namesSubject(subjects, subject))

/** Whether a claim check has the subject. */
function mentionsSubject(claimCheck: ClaimCheck, subject: Subject): boolean {
  switch (claimCheck.kind) {
    case "batch":
      return isAbout({ batch: claimCheck.batch, deadLetters: [] }, subject)
    case "scores":
      // A score names no subject. What it names is deleted, and takes no score any more.
      return false
    case "deliveries":
      return claimCheck.deliveries.some((delivery) => isAbout(delivery, subject))
    case "message":
      return hasField(claimCheck.body, subject)
  }
}

/**
 * Whether JSON that no version of the service reads has the subject in a field of that name, as the wire or
 * a row writes it. Text that is not JSON has no fields.
 */
function hasField(json: unknown, { field, text }: Subject): boolean {
  const left: unknown[] = [typeof json === "string" ? bodyOf(json) : json]
  while (left.length > 0) {
    const value = left.pop()
    if (typeof value !== "object" || value === null) continue
    const named = value as Record<string, unknown>
    if (named[field] === text || named[ROW_FIELDS[field]] === text) return true
    left.push(...Object.values(named))
  }
  return false
}

/** Undefined when the text is not JSON, such as a truncated record. */
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
  { position, before, subject }: { position: string; before: Date; subject: Subject },
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
      // Most objects do not have the text at all, so they need no parser.
      if (text === undefined || !mentions(text, subject.text)) continue
      const claimCheck = readClaimCheck(text)
      const has = claimCheck
        ? mentionsSubject(claimCheck, subject)
        : text.split("\n").some((line) => hasField(line, subject))
      if (has) found[prefix === "unreadable/" ? "unreadable" : "waiting"].push(key)
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
