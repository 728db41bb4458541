import { errorForLog, LoggableError } from "../errors.ts"
import { DayQuota } from "../isolate/day-quota.ts"
import { type KeyList, KnownKeys } from "../isolate/known-keys.ts"
import { MAX_LIVE_KEYS } from "../keys/form.ts"
import { type LiveKey, noteKeyUse, readLiveKeys, takeLease } from "../store/access/keys.ts"
import { connect, type Database, type DatabaseSettings, withRetries } from "../store/database/connection.ts"
import { readCopy, writeCopy } from "./copy.ts"

/** Where the keys that were made at run time are kept. */
export interface KeySource {
  database: DatabaseSettings
  bucket: R2Bucket | undefined
  /** Keeps the runtime from ending the request before `work` has ended. */
  keepAlive: (work: Promise<unknown>) => void
}

/** A reading waits so long for the database, in milliseconds, before it takes the copy in the bucket. */
const DATABASE_MS = 2000

/** A note of a key's use, or a lease, waits so long for the database, in milliseconds. */
const NOTE_MS = 5000

interface List extends KeyList<LiveKey> {
  /** Undefined for a copy. */
  stamp: string | undefined
}

/** The keys of an isolate, by the settings of the deployment. */
const known = new WeakMap<DatabaseSettings, KnownKeys<LiveKey>>()

function knownKeys(source: KeySource): KnownKeys<LiveKey> {
  const found = known.get(source.database)
  if (found) return found
  const keys = new KnownKeys<LiveKey>({
    read: (list) => readList(source, list as List | undefined),
    keepAlive: source.keepAlive,
  })
  known.set(source.database, keys)
  return keys
}

/** The digests of the keys are looked up by their first half, and compared as a whole in constant time. */
const idOf = (sha256: string) => sha256.slice(0, 32)

async function readList({ database, bucket }: KeySource, last: List | undefined): Promise<List> {
  try {
    const deadlineMs = Math.min(DATABASE_MS, database.deadlineMs)
    // In no line: one statement of an isolate at a time must not wait behind its reads.
    const db = connect({ ...database, deadlineMs, inFlight: undefined }, { traffic: "reads" })
    const stamp = last?.isComplete ? last.stamp : undefined
    const read = await withRetries(db, () => readLiveKeys(db, stamp))
    if (read) return listOf(read)
    if (last) return last
    throw new LoggableError("the database says that unread keys are unchanged")
  } catch (error) {
    console.log(JSON.stringify({ event: "keys_not_read", from: "database", error: errorForLog(error) }))
    if (!bucket) throw error
  }
  try {
    return listOf({ stamp: undefined, keys: await readCopy(bucket) })
  } catch (error) {
    console.log(JSON.stringify({ event: "keys_not_read", from: "bucket", error: errorForLog(error) }))
    throw error
  }
}

const listOf = ({ stamp, keys }: { stamp: string | undefined; keys: readonly LiveKey[] }): List => ({
  keys: new Map(keys.map((key) => [idOf(key.sha256), key])),
  isComplete: stamp !== undefined,
  stamp,
})

/**
 * Finds the live key with a digest.
 *
 * @param digest SHA-256 of the key
 * @returns `unknown`: there is none; `cannot tell`: the database is away, and nothing else knows the key
 */
export async function findLiveKey(
  source: KeySource,
  digest: ArrayBuffer,
): Promise<LiveKey | "unknown" | "cannot tell"> {
  const found = await knownKeys(source).find(idOf(new Uint8Array(digest).toHex()))
  if (typeof found === "string") return found
  const { key } = found
  if (!crypto.subtle.timingSafeEqual(digest, Uint8Array.fromHex(key.sha256))) return "unknown"
  if (key.expires !== null && key.expires <= Date.now()) return "unknown"
  noteUse(source, key.id)
  return key
}

/** The day of each key's last use that this isolate has noted. */
const notedDays = new Map<string, string>()

/** After a note that failed, the next one is tried after this time. */
const NOTE_AGAIN_MS = 60_000
let notNotedAt = Number.NEGATIVE_INFINITY

/** Notes the day of a use in the background, once a day for each isolate and key. */
function noteUse({ database, keepAlive }: KeySource, id: string): void {
  const now = Date.now()
  const day = new Date(now).toISOString().slice(0, 10)
  if (notedDays.get(id) === day || now - notNotedAt < NOTE_AGAIN_MS) return
  // Keys that have ended leave it together.
  if (notedDays.size >= 2 * MAX_LIVE_KEYS) notedDays.clear()
  notedDays.set(id, day)
  const db = connect(
    { ...database, deadlineMs: Math.min(NOTE_MS, database.deadlineMs) },
    { traffic: "consumer" },
  )
  keepAlive(
    noteKeyUse(db, id, day).catch(() => {
      notedDays.delete(id)
      notNotedAt = Date.now()
    }),
  )
}

/** What callers use in a day, by the settings of the deployment. */
const quotas = new WeakMap<DatabaseSettings, DayQuota>()

/** The quotas of this isolate. They take leases in the background. */
export function quotaOf({ database, keepAlive }: KeySource): DayQuota {
  const found = quotas.get(database)
  if (found) return found
  const deadlineMs = Math.min(NOTE_MS, database.deadlineMs)
  const quota = new DayQuota({
    // A lease is taken once: a second one after a lost answer would only be used up earlier.
    take: (lease) => takeLease(connect({ ...database, deadlineMs }, { traffic: "consumer" }), lease),
    keepAlive,
  })
  quotas.set(database, quota)
  return quota
}

/** The copy in the bucket was not written. What was changed in the database stays changed. */
export class CopyNotWritten extends LoggableError {}

/**
 * Makes a change of the keys known: to this isolate at once, to the others within 60 seconds, and to the copy
 * in the bucket.
 *
 * @param gone the id of a key that was revoked
 * @throws {CopyNotWritten}
 */
export async function spreadKeys(source: KeySource, db: Database, gone?: string): Promise<void> {
  knownKeys(source).forget(({ id }) => id === gone)
  if (source.bucket) await copyKeys(source.bucket, db)
}

/**
 * Writes the copy of the keys in the bucket anew.
 *
 * @throws {CopyNotWritten}
 */
export async function copyKeys(bucket: R2Bucket, db: Database): Promise<void> {
  try {
    await writeCopy(bucket, async () => {
      const live = await withRetries(db, () => readLiveKeys(db))
      if (!live) throw new LoggableError("the database says that unread keys are unchanged")
      return live.keys
    })
  } catch (error) {
    throw new CopyNotWritten(`the copy of the keys was not written: ${errorForLog(error)}`)
  }
}
