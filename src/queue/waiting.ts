import { mentions } from "../signals/lifecycle/erasure.ts"
import { CLAIM_CHECK_PREFIXES } from "./claim-checks.ts"

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
