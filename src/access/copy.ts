import * as z from "zod"
import { LoggableError } from "../errors.ts"
import { SCOPES } from "../signals/rules.ts"
import type { LiveKey } from "../store/access/keys.ts"

/** The object that holds the copy of all live keys, as their SHA-256. */
const OBJECT = "access/keys"

/** More than the copy of the most keys has. */
const MAX_BYTES = 2 * 1024 * 1024

const Copy = z.object({
  version: z.literal(1),
  keys: z.array(
    z.object({
      id: z.string(),
      name: z.string(),
      sha256: z.string(),
      scopes: z.array(z.enum(SCOPES)),
      expires: z.number().nullable(),
      limits: z.object({ signals: z.number().nullable(), bytes: z.number().nullable() }),
    }),
  ),
})

/**
 * Reads the copy, which isolates use while the database does not answer.
 *
 * @throws {Error} the bucket does not answer, or has no copy that this version reads
 */
export async function readCopy(bucket: R2Bucket): Promise<readonly LiveKey[]> {
  const found = await bucket.get(OBJECT)
  if (!found || found.size > MAX_BYTES) throw new LoggableError("the bucket has no copy of the keys")
  const copy = Copy.safeParse(await found.json())
  if (!copy.success) throw new LoggableError("this version does not read the copy of the keys")
  return copy.data.keys
}

const ATTEMPTS = 5

/**
 * Writes the copy anew. The keys are read after the present copy was looked at, and replace only that one: so
 * of two changes at once the later one wins, whichever writes first.
 *
 * @throws {Error} the bucket does not answer, or `readKeys` failed; the copy is as it was
 */
export async function writeCopy(
  bucket: R2Bucket,
  readKeys: () => Promise<readonly LiveKey[]>,
): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const present = await bucket.head(OBJECT)
    const text = JSON.stringify({ version: 1, keys: await readKeys() })
    const onlyIf = present ? { etagMatches: present.etag } : { etagDoesNotMatch: "*" }
    if (await bucket.put(OBJECT, text, { onlyIf })) return
  }
  throw new LoggableError("the copy of the keys kept changing")
}
