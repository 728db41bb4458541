import type { Database } from "../store/database/connection.ts"
import { listSealed, replaceSealed, type SealedTexts } from "../store/subscriptions/records.ts"
import { seal, Unsealable, unseal } from "../subscriptions/secrets.ts"
import { placeOf } from "./run.ts"

/**
 * Seals the addresses and secrets of all subscriptions under the first key, so that the others are needed no
 * more. What is sealed by it stays as it is, and so does what no key opens. It can be interrupted at any
 * moment, and run beside changes.
 *
 * @param keys SUBSCRIPTION_SECRET: during a rotation the new one, then the former ones
 * @returns the number of subscriptions that were sealed anew
 * @throws {DatabaseError} those before are done
 */
export async function resealSubscriptions(db: Database, keys: readonly string[]): Promise<number> {
  if (keys.length < 2) return 0
  let resealed = 0
  for (const sealed of await listSealed(db)) {
    const { id, url, secret, former } = sealed
    const anew: SealedTexts = {
      id,
      url: await underFirst(keys, placeOf(id, "url"), url),
      secret: await underFirst(keys, placeOf(id, "secret"), secret),
      former: former === null ? null : await underFirst(keys, placeOf(id, "secret"), former),
    }
    const isChanged = anew.url !== url || anew.secret !== secret || anew.former !== former
    if (isChanged && (await replaceSealed(db, sealed, anew))) resealed++
  }
  return resealed
}

/** A sealed text under the first key. */
async function underFirst(keys: readonly string[], place: string, sealed: string): Promise<string> {
  const [first = "", ...former] = keys
  try {
    await unseal([first], place, sealed)
    return sealed
  } catch {
    // Under another key.
  }
  try {
    return await seal(keys, place, await unseal(former, place, sealed))
  } catch (error) {
    if (error instanceof Unsealable) return sealed
    throw error
  }
}
