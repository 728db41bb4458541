import { sendClaimChecks } from "../queue/enqueue.ts"
import { findWaiting, redactMessageRecord, removeUnreadable } from "../queue/erase.ts"
import { parseObject } from "../queue/messages.ts"
import type { Database } from "../store/database/connection.ts"
import { deleteDeadLetter, rewriteDeadLetter } from "../store/dead-letters/store.ts"
import {
  eraseStored,
  finishErasure,
  keyedDeadLetters,
  type Progress,
  passObjects,
  readProgress,
} from "../store/lifecycle/erase.ts"
import { type KeyedRow, keepErasedKeys } from "../store/lifecycle/suppression.ts"
import type { IngestContext } from "./context.ts"

type Context = Pick<IngestContext, "db" | "queue" | "bucket">

/**
 * Continues an erasure step by step until it is done or `untilMs`. It can be interrupted at any moment: the
 * next call continues after the last committed step.
 *
 * @param untilMs the time after which no step starts, in milliseconds since the epoch
 * @throws {DatabaseError} earlier steps are done
 * @throws {Error} the bucket or the queue failed; earlier steps are done
 */
export async function continueErasure(context: Context, id: string, untilMs: number): Promise<void> {
  const { db } = context
  let progress = await eraseStored(db, id, { untilMs, beforeDeadLetters: (at) => prepareDeadLetters(db, at) })
  while (progress?.phase === "bucket" && Date.now() < untilMs)
    progress = (await eraseWaiting(context, progress)) ? await readProgress(db, id) : undefined
}

/**
 * Takes the dedupe keys of the subject's dead letters before the step that deletes them, and removes the
 * subject from those that are messages of the queue, which can be about other subjects too.
 */
async function prepareDeadLetters(db: Database, progress: Progress): Promise<void> {
  const { target } = progress
  if (!target || target.kind === "signal_ids") return
  for (const { id, source, transactionId, record } of await keyedDeadLetters(db, progress)) {
    if (source === "signal") {
      await keepErasedKeys(db, transactionId, keyOf(record))
      continue
    }
    const subject = { field: target.kind, text: target.subject }
    const isCovered = (batch: string) => progress.suppress || batch < progress.id
    const { left, removed } = redactMessageRecord(record, subject, isCovered)
    if (removed) await keepErasedKeys(db, removed.transactionId, removed.rows)
    if (left === undefined) await deleteDeadLetter(db, id)
    else await rewriteDeadLetter(db, id, { from: record, to: left })
  }
}

/**
 * The dedupe key and the subjects of a dead letter that was a valid signal; none when its record is
 * truncated.
 */
function keyOf(record: string): KeyedRow[] {
  const signal = parseObject(record)
  if (!signal) return []
  const text = (value: unknown) => (typeof value === "string" ? value : null)
  const { dedupe_key, user_id, agent_id, context_window_id } = signal
  const subjects = {
    userId: text(user_id),
    agentId: text(agent_id),
    contextWindowId: text(context_window_id),
  }
  return [{ dedupeKey: text(dedupe_key), ...subjects }]
}

/**
 * Reads the next waiting objects of the bucket. An object that holds the subject is stored now, without
 * suppressed signals, and so deleted; the erasure waits for that.
 *
 * @returns whether the position moved
 */
async function eraseWaiting(
  { db, queue, bucket }: Context,
  { id, position, createdAt, target }: Progress,
): Promise<boolean> {
  if (!bucket || !queue || !target || target.kind === "signal_ids") return finishErasure(db, id)
  const { waiting, unreadable, next } = await findWaiting(bucket, {
    position,
    before: createdAt,
    subject: { field: target.kind, text: target.subject },
  })
  const removed = await removeUnreadable(bucket, unreadable)
  await sendClaimChecks(queue, waiting)
  if (waiting.length > 0) return false
  if (next === undefined) return finishErasure(db, id)
  return passObjects(db, id, { from: position, to: next, removed })
}
