import { setTimeout as sleep } from "node:timers/promises"
import type { Client } from "pg"

/**
 * Statements of the service queue behind a waiting lock, so the wait must be short. It is shorter than
 * Postgres' `deadlock_timeout`, so that in a deadlock this statement gives up and not one of the service.
 */
const LOCK_TIMEOUT_MS = 500

/** The pause between attempts, in which the waiting statements of the service run. */
const PAUSE_MS = 2_000

/** Enough for about ten minutes: longer than any statement of the service, and than the lock of a backup. */
const TRIES = 200

/** A lock was not available in time, or a deadlock was found. */
const NO_LOCK = ["55P03", "40P01"]

/**
 * Runs work that locks tables of the running service, and retries it when a lock is not available in time.
 * `work` must be one transaction.
 *
 * @throws {unknown} the error of `work`, also when it got no lock within ten minutes; nothing was changed
 *   then
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
    // `work` has already reported a lost connection.
    await client.query("reset lock_timeout").catch(() => {})
  }
}

/** The SQLSTATE of an error or of its cause: drizzle wraps errors. */
function codeOf(error: unknown): string | undefined {
  const { code, cause } = error as { code?: string; cause?: unknown }
  return code ?? (cause === undefined ? undefined : codeOf(cause))
}
