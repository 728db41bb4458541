import { sendClaimChecks } from "../queue/enqueue.ts"
import { redactMessageRecord } from "../queue/redact.ts"
import { findWaiting, removeUnreadable } from "../queue/waiting.ts"
import type { Database } from "../store/connection.ts"
import { deleteLetter, rewriteLetter } from "../store/dead-letters.ts"
import { messageLetters } from "../store/lifecycle/erase-letters.ts"
import type { Progress } from "../store/lifecycle/erase-step.ts"
import { finishErasure, passObjects, readProgress } from "../store/lifecycle/erase-steps.ts"
import { eraseStored } from "../store/lifecycle/erase-stored.ts"
import type { IngestContext } from "./context.ts"

type Context = Pick<IngestContext, "db" | "queue" | "bucket">

/**
 * Continues an erasure step by step until it is done or `untilMs`. It can be interrupted at any moment: the next call continues after the last
 * committed step.
 *
 * @param untilMs the time after which no step starts, in milliseconds since the epoch
 * @throws {DatabaseError} earlier steps are done
 * @throws {Error} the bucket or the queue failed; earlier steps are done
 */
export async function continueErasure(context: Context, id: string, untilMs: number): Promise<void> {
  const { db } = context
  let progress = await eraseStored(db, id, { untilMs, beforeLetters: (at) => redactMessages(db, at) })
  while (progress?.phase === "bucket" && Date.now() < untilMs)
    progress = (await eraseWaiting(context, progress)) ? await readProgress(db, id) : undefined
}

/** Removes the subject from dead letters that are messages of the queue, before the step that handles them. */
async function redactMessages(db: Database, progress: Progress): Promise<void> {
  const { target } = progress
  if (!target || target.kind === "signal_ids") return
  for (const { id, record } of await messageLetters(db, progress)) {
    const left = redactMessageRecord(record, target.kind, target.subject)
    if (left === undefined) await deleteLetter(db, id)
    else await rewriteLetter(db, id, { from: record, to: left })
  }
}

/**
 * Reads the next waiting objects of the bucket. An object that holds the subject is stored now, without suppressed signals, and so deleted; the
 * erasure waits for that.
 *
 * @returns whether the position moved
 */
async function eraseWaiting({ db, queue, bucket }: Context, { id, position, createdAt, target }: Progress): Promise<boolean> {
  if (!bucket || !queue || !target || target.kind === "signal_ids") return finishErasure(db, id)
  const { waiting, unreadable, next } = await findWaiting(bucket, { position, before: createdAt, subject: target.subject })
  const removed = await removeUnreadable(bucket, unreadable)
  await sendClaimChecks(queue, waiting)
  if (waiting.length > 0) return false
  if (next === undefined) return finishErasure(db, id)
  return passObjects(db, id, { from: position, to: next, removed })
}
