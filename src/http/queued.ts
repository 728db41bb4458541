import type { Context } from "hono"
import { claimCheckRecord, enqueueBatch } from "../queue/enqueue.ts"
import type { BatchRecord } from "../signals/responses.ts"
import { instantText } from "../signals/timestamp.ts"
import type { NewBatch } from "../store/batch.ts"
import { IdempotencyKeyReused } from "../store/idempotency.ts"
import { type App, noteOutcome } from "./context.ts"

/**
 * Has a batch stored later, where there is a queue and a bucket for it to wait in (`Prefer: respond-async`, RFC 7240, section 4.1).
 * Once this resolves to a record, the batch will be in the ledger under its transaction_id.
 *
 * @returns undefined when the preference can't be met: the batch is to be stored now, which is safe even if the queue took it
 * @throws {IdempotencyKeyReused} the key stands for another request
 */
export async function queueBatch(c: Context<App>, batch: NewBatch): Promise<BatchRecord | undefined> {
  const { QUEUE: queue, BUCKET: bucket } = c.env
  if (!queue || !bucket) return undefined
  try {
    const { transactionId, replayed } = await enqueueBatch(queue, bucket, batch, recordOf(batch))
    noteOutcome(c, { transactionId, replayed, queued: true })
    c.header("Preference-Applied", "respond-async")
    c.header("Location", `/api/batches/${transactionId}`)
    if (replayed) c.header("Idempotency-Replayed", "true")
    return { ...recordOf(batch), transaction_id: transactionId }
  } catch (error) {
    if (error instanceof IdempotencyKeyReused) throw error
    noteOutcome(c, { fault: `queue out of order: ${(error as Error).message}` })
  }
}

/** What is known of a batch that the ledger does not have yet. */
export const queuedRecord = async (c: Context<App>, transactionId: string): Promise<BatchRecord | undefined> =>
  c.env.BUCKET && claimCheckRecord(c.env.BUCKET, transactionId)

function recordOf({ transactionId, caller, plan, idempotency }: NewBatch): BatchRecord {
  return {
    transaction_id: transactionId,
    state: "queued",
    created_at: instantText(new Date()),
    caller,
    idempotency_key: idempotency?.key ?? null,
    total_count: plan.total,
    successful_count: 0,
    failed_count: plan.failures.length,
    failures: plan.failures,
  }
}
