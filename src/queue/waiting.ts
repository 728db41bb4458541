import { mentions } from "../store/lifecycle/needles.ts"
import { CLAIM_CHECK_PREFIXES } from "./claim-checks.ts"

/** Objects that one call looks through; each holds up to some 20 MB. */
const MAX_LOOKED_THROUGH = 100

/** Where objects wait, in the order of their names. `unreadable/` has those that no version of the service reads. */
const PREFIXES = [...CLAIM_CHECK_PREFIXES, "unreadable/"] as const

export interface FoundObjects {
  /** Names of the claim checks that hold the subject. */
  waiting: string[]
  /** Names of the objects that hold it and that nothing will ever store. */
  unreadable: string[]
  /** The position after them; undefined when there are no more objects. */
  next: string | undefined
}

/**
 * Finds the objects that hold a subject, from a position on: the name of the last object that was looked through, "" for the first.
 *
 * @param before the objects that were put before this time
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
    const { objects, truncated } = await bucket.list({ prefix, limit: left, ...(startAfter !== undefined && { startAfter }) })
    for (const { key, uploaded } of objects) {
      if (uploaded > before) continue
      const text = await (await bucket.get(key))?.text()
      if (text !== undefined && mentions(text, subject)) found[prefix === "unreadable/" ? "unreadable" : "waiting"].push(key)
    }
    left -= objects.length
    if (truncated || left === 0) return { ...found, next: objects.at(-1)?.key ?? position }
  }
  return found
}

/** @returns how many objects it deleted */
export async function removeUnreadable(bucket: R2Bucket, objects: string[]): Promise<number> {
  if (objects.length > 0) await bucket.delete(objects)
  return objects.length
}
