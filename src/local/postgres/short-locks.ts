import { setTimeout as sleep } from "node:timers/promises"
import type { Client } from "pg"

/**
 * Every statement of the service that comes after a waiting one waits behind it, so a lock is given up after this long. It is shorter than
 * Postgres' `deadlock_timeout`, so that in a deadlock this gives up and not the service.
 */
const LOCK_TIMEOUT_MS = 500

/** Between two tries, so that what has waited gets through. */
const PAUSE_MS = 2_000

/** Tries for about ten minutes: longer than any statement of the service, or a backup's hold on a table. */
const TRIES = 200

/** A lock was not available in time, or a deadlock was found. */
const NO_LOCK = ["55P03", "40P01"]

/**
 * Does work that locks tables of the running service, again whenever a lock is not to be had at once. `work` must be one transaction.
 *
 * @throws what `work` throws, also when it got no lock in ten minutes; nothing was done then
 */
export async function withShortLocks<T>(client: Client, work: () => Promise<T>): Promise<T> {
  await client.query(`set lock_timeout = ${LOCK_TIMEOUT_MS}`)
  try {
    for (let tried = 1; ; tried++) {
      try {
        return await work()
      } catch (error) {
        if (!NO_LOCK.includes(codeOf(error) ?? "") || tried === TRIES) throw error
        await sleep(PAUSE_MS)
      }
    }
  } finally {
    // A connection that is lost reports that itself.
    await client.query("reset lock_timeout").catch(() => {})
  }
}

/** The SQLSTATE of an error, also below the one that drizzle makes of it. */
function codeOf(error: unknown): string | undefined {
  const { code, cause } = error as { code?: string; cause?: unknown }
  return code ?? (cause === undefined ? undefined : codeOf(cause))
}
