import { parseObject } from "../queue/messages.ts"

/** At most so many objects are listed in one run of each kind, by 1,000 a call. */
const MAX_LISTED = 20_000

/** Where the last run stopped, by prefix, so that every object has its turn. */
const POSITIONS = "sweep/positions"

export interface Visit {
  /** How many objects the visit did something with. */
  count: number
  /** The last object that was visited, when it is not the last one given. */
  until?: string | undefined
}

/**
 * Visits the objects of a prefix, a bounded number a run, from the object on where the last run stopped. A visit that throws is made
 * again from the same object.
 *
 * @returns the count of the visit
 */
export async function walkBucket(
  bucket: R2Bucket,
  prefix: string,
  visit: (objects: readonly R2Object[]) => Promise<Visit>,
): Promise<number> {
  const position = (await readPositions(bucket))[prefix]
  const { objects, next } = await listFrom(bucket, prefix, typeof position === "string" ? position : undefined)
  const { count, until } = await visit(objects)
  const nextPosition = until ?? next
  if (nextPosition !== position)
    await bucket.put(POSITIONS, JSON.stringify({ ...(await readPositions(bucket)), [prefix]: nextPosition }))
  return count
}

async function readPositions(bucket: R2Bucket): Promise<Record<string, unknown>> {
  return parseObject((await (await bucket.get(POSITIONS))?.text()) ?? "{}") ?? {}
}

/** The objects from a position on, and the next position, undefined after the last object. */
async function listFrom(
  bucket: R2Bucket,
  prefix: string,
  startAfter: string | undefined,
): Promise<{ objects: R2Object[]; next: string | undefined }> {
  const found: R2Object[] = []
  let next = startAfter
  while (found.length < MAX_LISTED) {
    const { objects, truncated } = await bucket.list({ prefix, limit: 1000, ...(next !== undefined && { startAfter: next }) })
    found.push(...objects)
    next = objects.at(-1)?.key
    if (!truncated) return { objects: found, next: undefined }
  }
  return { objects: found, next }
}
