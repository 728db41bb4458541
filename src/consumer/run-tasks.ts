import type { Added } from "../ingest/context.ts"
import { addTallies } from "../signals/tally.ts"
import { BatchInDoubt } from "../store/batches/batch.ts"
import { canWrite, connect, type Database, type DatabaseSettings } from "../store/database/connection.ts"
import { DatabaseError } from "../store/database/errors.ts"
import type { ConsumerRun } from "./report.ts"
import type { Task } from "./tasks.ts"

/** Cloudflare ends a consumer after 15 minutes. */
export const LIMITS = {
  /** For all tasks. Tasks that have not started by then are redelivered. */
  totalMs: 10 * 60 * 1000,
  /** For one statement. It can be long, because no caller waits for it. */
  statementMs: 60 * 1000,
  /** For the check whether the database answers at all. */
  probeMs: 5000,
}

export interface FinishedTasks {
  /** The messages that are not stored. */
  open: Message<unknown>[]
  /** Whether the database does not answer. */
  isAway: boolean
}

/**
 * Runs tasks one after the other, and acknowledges the messages of each stored task. A task that fails while
 * the database answers is split into halves, which run after all other tasks, until the message that cannot
 * be stored is alone.
 */
export async function runTasks(
  tasks: readonly Task[],
  { database, limits, run }: { database: DatabaseSettings; limits: typeof LIMITS; run: ConsumerRun },
): Promise<FinishedTasks> {
  const finished: FinishedTasks = { open: [], isAway: false }
  const endsAt = Date.now() + limits.totalMs
  const waiting = [...tasks]
  for (let task = waiting.shift(); task; task = waiting.shift()) {
    if (finished.isAway || Date.now() >= endsAt) {
      finished.open.push(...task.messages)
      continue
    }
    const db = connect({ ...database, statementMs: limits.statementMs }, { traffic: "consumer" })
    try {
      await task.run(db, (added) => {
        run.added = sum(run.added, added)
      })
      for (const message of task.messages) message.ack()
    } catch (error) {
      run.error ??= error
      finished.isAway = isOfDatabase(error) && !(await isReachable(database, limits.probeMs))
      if (task.halves && !finished.isAway) waiting.push(...task.halves())
      else finished.open.push(...task.messages)
    } finally {
      countUsage(run, db)
    }
  }
  return finished
}

const sum = (one: Added, other: Added): Added => ({
  stored: one.stored + other.stored,
  duplicates: one.duplicates + other.duplicates,
  failed: one.failed + other.failed,
  sources: addTallies(one.sources, other.sources),
  codes: addTallies(one.codes, other.codes),
})

const isOfDatabase = (error: unknown) => error instanceof DatabaseError || error instanceof BatchInDoubt

/** Whether the database answers and accepts writes. */
export async function isReachable(database: DatabaseSettings, probeMs = LIMITS.probeMs): Promise<boolean> {
  try {
    return await canWrite(
      connect({ ...database, deadlineMs: Math.min(probeMs, database.deadlineMs) }, { traffic: "consumer" }),
    )
  } catch {
    return false
  }
}

function countUsage(run: ConsumerRun, { usage }: Database): void {
  run.databaseAttempts += usage.attempts
  run.databaseMs += usage.ms
}
