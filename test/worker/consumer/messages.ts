import { createExecutionContext, createMessageBatch, getQueueResult, waitOnExecutionContext } from "cloudflare:test"
import { env } from "cloudflare:workers"
import { uuidv7 } from "uuidv7"
import { planDelivery } from "../../../src/bridges/plan-delivery.ts"
import type { Bindings } from "../../../src/config.ts"
import worker from "../../../src/index.ts"
import { messageText } from "../../../src/queue/messages.ts"
import type { Delivery } from "../../../src/store/write-deliveries.ts"

export const QUEUE = "signal-ingest"
export const DEAD_LETTERS = "signal-ingest-dead-letters"

/** A delivery of these signals, as a webhook would hand it to the queue. Those of a `refused` reason come with their dead letter. */
export function delivery(records: (Record<string, unknown> | { refused: string })[], transactionId = uuidv7()): Delivery {
  const delivered = records.map((record) => ("refused" in record ? { refused: String(record.refused) } : { signal: record }))
  const { plan } = planDelivery(delivered, "2026-01-02T03:04:05.000000Z")
  const caller = "webhook:kafka"
  const letters = plan.failures.map(({ index, error }) => {
    return { transactionId, index, source: "kafka" as const, caller, reason: error, record: JSON.stringify(records[index]) }
  })
  return { batch: { transactionId, caller, plan, allOrNothing: false }, letters }
}

/** Hands messages to the consumer, as Cloudflare does, and tells what became of each. */
export async function consume(
  bodies: readonly unknown[],
  options: { queue?: string; attempts?: number; bindings?: Partial<Bindings> } = {},
) {
  const { queue = QUEUE, attempts = 1, bindings = {} } = options
  // A queue gives every message an id of its own, for good.
  const run = crypto.randomUUID()
  const messages = bodies.map((body, place) => ({ id: `${run}-${place}`, timestamp: new Date(), attempts, body }))
  const batch = createMessageBatch(queue, messages)
  const context = createExecutionContext()
  await worker.queue(batch, { ...(env as Bindings), ...bindings })
  await waitOnExecutionContext(context)
  return getQueueResult(batch, context)
}

export const bodyOf = (one: Delivery) => messageText({ version: 1, kind: "delivery", delivery: one })
