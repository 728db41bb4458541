import type { Context } from "hono"
import { planDelivery } from "../bridges/plan-delivery.ts"
import { acceptDelivery, type ReceivedDelivery } from "../ingest/accept-delivery.ts"
import { countCodes } from "../signals/answer.ts"
import type { Delivered } from "../signals/plan.ts"
import type { DeliveryAnswer } from "../signals/responses.ts"
import { instantText } from "../signals/timestamp.ts"
import { type App, noteOutcome } from "./context.ts"
import { ingestContext, notePlan, timeLimitOf } from "./write.ts"

/** Accepts the records of a webhook with the bridge's result for each, and notes the outcome. */
export async function answerDelivery(
  c: Context<App>,
  received: Pick<ReceivedDelivery, "source" | "records"> & { delivered: readonly Delivered[] },
): Promise<DeliveryAnswer> {
  const { source, records, delivered } = received
  const context = ingestContext(c)
  const plan = planDelivery(delivered, instantText(context.now), { timeLimit: timeLimitOf(c, context.now) })
  notePlan(c, plan.plan, "delivery")
  const { answer, sources, queueError } = await acceptDelivery(context, {
    source,
    caller: c.get("caller").name,
    records,
    plan,
  })
  const kinds = Object.keys(answer.skipped)
  const kind = kinds.length > 1 ? "mixed" : (kinds[0] ?? "")
  noteOutcome(c, { total: answer.total_count, skipped: delivered.length - answer.total_count, kind })
  if (queueError) noteOutcome(c, { error: queueError })
  const { transaction_id: transactionId, failures, duplicate_count: duplicates = 0 } = answer
  const counts = { failed: failures.length, duplicates, sources, codes: countCodes(failures) }
  if (transactionId) noteOutcome(c, { transactionId, ...counts, queued: answer.state === "queued" })
  return answer
}
