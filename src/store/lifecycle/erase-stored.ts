import type { Database } from "../connection.ts"
import type { Progress } from "./erase-step.ts"
import { eraseStep, readProgress } from "./erase-steps.ts"

/** Between two looks at the transactions that an erasure waits for. */
const LOOK_AGAIN_MS = 250

/**
 * Continues what an erasure does in the database, step by step, until `untilMs` has come. It may end at any moment: the next call
 * continues after the last step that was committed.
 *
 * @param untilMs when to begin no further step, in milliseconds since the epoch
 * @param beforeLetters what comes before each step that passes dead letters
 * @returns how far it has come; undefined when there is none, when it is not at its end in time, and when another one works on it
 * @throws {DatabaseError} the steps before are done
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
