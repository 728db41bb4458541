import type { Context } from "hono"
import { uuidv7 } from "uuidv7"
import type { Delivered } from "../bridges/delivery.ts"
import { planDelivery } from "../bridges/plan-delivery.ts"
import { enqueueDelivery } from "../queue/enqueue.ts"
import type { BatchPlan } from "../signals/plan.ts"
import type { DeliveryAnswer, Failure } from "../signals/responses.ts"
import { instantText } from "../signals/timestamp.ts"
import type { Database } from "../store/connection.ts"
import type { LetterSource } from "../store/dead-letters.ts"
import { type Delivery, writeDeliveries } from "../store/write-deliveries.ts"
import { type App, noteOutcome } from "./context.ts"
import { notePlan } from "./write.ts"

/** What a webhook was sent: the records as they came, and what the bridge has made of each. */
export interface Received {
  source: Extract<LetterSource, "slack" | "kafka">
  records: readonly unknown[]
  delivered: readonly Delivered[]
}

/**
 * Takes in what a webhook was sent: judges it, and has the queue keep it, or without one the database. What can't become a signal is
 * acknowledged all the same, since its sender could only send it again, and kept as dead letters.
 */
export async function acceptDelivery(c: Context<App>, db: Database, received: Received): Promise<DeliveryAnswer> {
  const { plan, skipped } = planDelivery(received.delivered, instantText(new Date()))
  const kinds = Object.keys(skipped)
  notePlan(c, plan, "delivery")
  noteOutcome(c, { skipped: received.delivered.length - plan.total, kind: kinds.length > 1 ? "mixed" : (kinds[0] ?? "") })
  if (plan.total === 0) return answer("skipped", plan, skipped)

  const transactionId = uuidv7()
  const caller = c.get("caller").name
  const letters = plan.failures.map(({ index, error }) => {
    const record = JSON.stringify(received.records[index] ?? null)
    return { transactionId, index, source: received.source, caller, reason: error, record }
  })
  const refused = await keep(c, db, { batch: { transactionId, caller, plan, allOrNothing: false }, letters })
  const failures = [...plan.failures, ...(refused ?? [])].sort((one, other) => one.index - other.index)
  noteOutcome(c, { transactionId, failed: failures.length, queued: refused === undefined })
  return { ...answer(refused ? "stored" : "queued", { total: plan.total, failures }, skipped), transaction_id: transactionId }
}

function answer(
  state: DeliveryAnswer["state"],
  { total, failures }: Pick<BatchPlan, "total" | "failures">,
  skipped: DeliveryAnswer["skipped"],
): DeliveryAnswer {
  const counts = { total_count: total, accepted_count: total - failures.length, failed_count: failures.length }
  return { state, ...counts, failures, skipped }
}

/**
 * Has the queue keep the delivery, else the database. Doing both is safe: the ledger takes a transaction id once.
 *
 * @returns what the database refused, undefined when the queue has the delivery
 */
async function keep(c: Context<App>, db: Database, delivery: Delivery): Promise<Failure[] | undefined> {
  const { QUEUE: queue, BUCKET: bucket } = c.env
  try {
    if (queue && (await enqueueDelivery(queue, bucket, delivery))) return undefined
  } catch (error) {
    noteOutcome(c, { fault: `queue out of order: ${(error as Error).message}` })
  }
  return (await writeDeliveries(db, [delivery])).refused
}
