import { parseObject } from "../queue/messages.ts"

/** The most objects of one prefix that a run lists; a call lists 1,000. */
const MAX_LISTED = 20_000

/** The object that holds the position of the last run for each prefix, so that every object is visited. */
const POSITIONS = "sweep/positions"

export interface Visit {
  /** The number of objects that the visit handled. */
  count: number
  /** The last visited object, when the visit did not visit all. */
  until?: string | undefined
}

/**
 * Visits a bounded number of the objects of a prefix, starting where the last run stopped. When the visit
 * throws, the next run starts from the same object.
 *
 * @returns the count of the visit
 */
export async function walkBucket(
  bucket: R2Bucket,
  prefix: string,
  visit: (objects: readonly R2Object[]) => Promise<Visit>,
): Promise<number> {
  const position = (await readPositions(bucket))[prefix]
  const { objects, next } = await listFrom(
    bucket,
    prefix,
    typeof position === "string" ? position : undefined,
  )
  const { count, until } = await visit(objects)
  const nextPosition = until ?? next
  if (nextPosition !== position)
    await bucket.put(POSITIONS, JSON.stringify({ ...(await readPositions(bucket)), [prefix]: nextPosition }))
  return count
}

async function readPositions(bucket: R2Bucket): Promise<Record<string, unknown>> {
  return parseObject((await (await bucket.get(POSITIONS))?.text()) ?? "{}") ?? {}
}

/** Lists the objects after a position, and returns the next position: undefined after the last object. */
async function listFrom(
  bucket: R2Bucket,
  prefix: string,
  startAfter: string | undefined,
): Promise<{ objects: R2Object[]; next: string | undefined }> {
  const found: R2Object[] = []
  let next = startAfter
  while (found.length < MAX_LISTED) {
    const { objects, truncated } = await bucket.list({
      prefix,
      limit: 1000,
      ...(next !== undefined && { startAfter: next }),
    })
    found.push(...objects)
    next = objects.at(-1)?.key
    if (!truncated) return { objects: found, next: undefined }
  }
  return { objects: found, next }
}
