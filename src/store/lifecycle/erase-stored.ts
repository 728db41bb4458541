import type { Database } from "../connection.ts"
import type { Progress } from "./erase-step.ts"
import { eraseStep, readProgress } from "./erase-steps.ts"

/** The pause between checks of the transactions that an erasure waits for. */
const LOOK_AGAIN_MS = 250

/**
 * Continues the work of an erasure in the database, step by step, until `untilMs`. It can be interrupted at
 * any moment: the next call continues after the last committed step.
 *
 * @param untilMs the time after which no step starts, in milliseconds since the epoch
 * @param beforeLetters called before each step that handles dead letters
 * @returns the progress; undefined when there is no such erasure, when it is not done in time, and when
 *   another process works on it
 * @throws {DatabaseError} earlier steps are done
 */
export async function eraseStored(
  db: Database,
  id: string,
  { untilMs, beforeLetters }: { untilMs: number; beforeLetters: (progress: Progress) => Promise<void> },
): Promise<Progress | undefined> {
  while (Date.now() < untilMs) {
    const progress = await readProgress(db, id)
    if (!progress || progress.phase === "bucket" || progress.phase === "done") return progress
    if (progress.phase === "dead_letters") await beforeLetters(progress)
    if (await eraseStep(db, progress)) continue
    if (progress.phase !== "wait") return undefined
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS))
  }
}
