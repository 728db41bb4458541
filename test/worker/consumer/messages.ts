import {
  createExecutionContext,
  createMessageBatch,
  getQueueResult,
  waitOnExecutionContext,
} from "cloudflare:test"
import { env } from "cloudflare:workers"
import { uuidv7 } from "uuidv7"
import type { Bindings } from "../../../src/bindings.ts"
import { planDelivery } from "../../../src/bridges/plan-delivery.ts"
import { consume as consumeBatch } from "../../../src/consumer/consume.ts"
import { LIMITS } from "../../../src/consumer/tasks.ts"
import { messageText } from "../../../src/queue/messages.ts"
import type { Delivery } from "../../../src/store/batches/deliveries.ts"

export const QUEUE = "signal-ingest"
export const DEAD_LETTERS = "signal-ingest-dead-letters"

/**
 * A delivery of these signals, as a webhook would hand it to the queue. Those of a `refused` reason come with
 * their dead letter.
 */
export function delivery(
  records: (Record<string, unknown> | { refused: string })[],
  transactionId = uuidv7(),
): Delivery {
  const delivered = records.map((record) =>
    "refused" in record ? { refused: String(record.refused) } : { signal: record },
  )
  const { plan } = planDelivery(delivered, "2026-01-02T03:04:05.000000Z")
  const caller = "webhook:kafka"
  const deadLetters = plan.failures.map(({ index, error, code }) => {
    return {
      transactionId,
      index,
      source: "kafka" as const,
      caller,
      reason: error,
      code,
      record: JSON.stringify(records[index]),
    }
  })
  return { batch: { transactionId, caller, plan, allOrNothing: false }, deadLetters }
}

/** Hands messages to the consumer, as Cloudflare does, and tells what became of each. */
export async function consume(
  bodies: readonly unknown[],
  options: {
    queue?: string
    attempts?: number | number[]
    bindings?: Partial<Bindings>
    limits?: Partial<typeof LIMITS>
  } = {},
) {
  const { queue = QUEUE, attempts = 1, bindings = {}, limits = {} } = options
  const attemptsOf = (index: number) => (typeof attempts === "number" ? attempts : (attempts[index] ?? 1))
  // A queue gives every message an id of its own, for good.
  const run = crypto.randomUUID()
  const messages = bodies.map((body, index) => ({
    id: `${run}-${index}`,
    timestamp: new Date(),
    attempts: attemptsOf(index),
    body,
  }))
  const batch = createMessageBatch(queue, messages)
  const context = createExecutionContext()
  await consumeBatch(batch, { ...(env as Bindings), ...bindings }, { ...LIMITS, ...limits })
  await waitOnExecutionContext(context)
  return getQueueResult(batch, context)
}

export const bodyOf = (one: Delivery) => messageText({ version: 1, kind: "delivery", delivery: one })

/** A message of a queue that a test plays, with what the consumer said of it. */
export interface PlayedMessage extends Message<unknown> {
  said?: { acknowledged: true } | { delaySeconds: number }
}

export function playedMessage(
  body: unknown,
  attempts: number,
  id: string = crypto.randomUUID(),
): PlayedMessage {
  const message: PlayedMessage = {
    ...{ id, body, attempts, timestamp: new Date() },
    ack() {
      message.said ??= { acknowledged: true }
    },
    retry(options) {
      message.said ??= { delaySeconds: options?.delaySeconds ?? 0 }
    },
  }
  return message
}

/** Hands messages to the consumer, which also tells the delay of each retry. */
export async function play(
  messages: readonly PlayedMessage[],
  queue: string,
  changed: Partial<Bindings> = {},
): Promise<void> {
  const batch = {
    queue,
    messages,
    metadata: { metrics: { backlogCount: 0, backlogBytes: 0 } },
    ackAll() {},
    retryAll() {},
  }
  await consumeBatch(batch, { ...(env as Bindings), ...changed })
}
