import { uuidv7 } from "uuidv7"
import type { DeliveryPlan } from "../bridges/plan-delivery.ts"
import { enqueueDelivery } from "../queue/enqueue.ts"
import { type Counts, countCodes, NO_COUNTS, NO_SCORES, type ScoreCounts } from "../signals/answer.ts"
import type { BatchPlan } from "../signals/plan.ts"
import type { DeliveryAnswer } from "../signals/responses.ts"
import type { WebhookSource } from "../signals/sources.ts"
import { BatchInDoubt, type NewScores } from "../store/batches/batch.ts"
import {
  type Delivery,
  type WrittenDeliveries,
  writeDeliveries,
  writeDelivery,
} from "../store/batches/deliveries.ts"
import { Outcomes } from "../store/batches/outcomes.ts"
import { DatabaseError } from "../store/database/errors.ts"
import { keepValues } from "../store/dead-letters/bound-record.ts"
import type { Count, IngestContext } from "./context.ts"
import { queueErrorText } from "./queue-batch.ts"

/** A delivery of a webhook. */
export interface ReceivedDelivery {
  source: WebhookSource
  caller: string
  /** The delivered records, by the indexes of the plan. */
  records: readonly unknown[]
  plan: DeliveryPlan
}

export interface AcceptedDelivery {
  answer: DeliveryAnswer
  /** What was stored at once, by its source. */
  sources: Counts
  /** The scores that were stored at once. */
  scores: ScoreCounts
  /** Why the queue did not take it, for the log; undefined when it did, or none is bound. */
  queueError: string | undefined
}

/**
 * Accepts a delivery: it goes to the queue, or without a queue to the database. A record that cannot become a
 * signal is acknowledged too, since the sender could only send it again, and is kept as a dead letter.
 *
 * @throws {BatchInDoubt} the queue did not accept the delivery, and it may be stored
 * @throws {DatabaseError} the queue did not accept the delivery, and nothing was stored
 */
export async function acceptDelivery(
  context: IngestContext,
  received: ReceivedDelivery,
): Promise<AcceptedDelivery> {
  const { plan, scores, skipped, subjects } = received.plan
  const nothing = { sources: NO_COUNTS, scores: NO_SCORES, queueError: undefined }
  if (plan.total + scores.total === 0) return { answer: answer("skipped", plan, skipped), ...nothing }

  const { source, caller, records } = received
  const transactionId = uuidv7()
  const scored: NewScores | undefined =
    scores.total === 0
      ? undefined
      : { kind: "scores", transactionId: uuidv7(), caller, plan: scores, allOrNothing: false }
  const deadLetters = keepValues(
    plan.failures.map(({ index, error, code, field }) => {
      const why = { reason: error, code, field, subjects: subjects.get(index) }
      return { transactionId, index, source, caller, ...why, record: records[index] }
    }),
  )
  const { written, queueError } = await keep(context, {
    batch: { transactionId, caller, plan, allOrNothing: false },
    deadLetters,
    scores: scored,
  })
  const failures = [...plan.failures, ...(written?.refused ?? [])].sort((a, b) => a.index - b.index)
  const suppressed = written?.suppressed.length ?? 0
  const left = { total: plan.total + scores.total - suppressed, failures }
  const state = left.total === 0 ? "skipped" : written ? "stored" : "queued"
  const base = answer(state, left, suppressed > 0 ? { ...skipped, suppressed } : skipped)
  const duplicates = written && { duplicate_count: written.duplicates + written.scores.duplicates }
  const named = {
    transaction_id: plan.total > 0 || !scored ? transactionId : scored.transactionId,
    ...(plan.total > 0 && scored && { scores_transaction_id: scored.transactionId }),
  }
  return {
    answer: { ...base, ...duplicates, ...named },
    sources: written?.sources ?? NO_COUNTS,
    scores: written?.scores ?? NO_SCORES,
    queueError,
  }
}

/**
 * Stores acknowledged deliveries in one statement.
 *
 * @param context.count receives the counts of the deliveries that this call entered in the ledger, also when
 *   it throws
 * @throws {BatchInDoubt} some may be stored; a retry is safe
 * @throws {DatabaseError} nothing was stored; a retry is safe
 */
export async function storeDeliveries(
  { db, count }: Pick<IngestContext, "db"> & { count: Count },
  deliveries: readonly Delivery[],
): Promise<void> {
  const outcomes = new Outcomes()
  try {
    await writeDeliveries(db, deliveries, outcomes)
  } finally {
    const { stored, duplicates, sources, failures, scores } = outcomes.counts()
    count({ stored, duplicates, failed: failures.length, sources, codes: countCodes(failures), scores })
  }
}

function answer(
  state: DeliveryAnswer["state"],
  { total, failures }: Pick<BatchPlan, "total" | "failures">,
  skipped: DeliveryAnswer["skipped"],
): DeliveryAnswer {
  const counts = {
    total_count: total,
    accepted_count: total - failures.length,
    failed_count: failures.length,
  }
  return { state, ...counts, failures, skipped }
}

interface Kept {
  /** The result of storing it; undefined when the queue has the delivery. */
  written: WrittenDeliveries | undefined
  queueError: string | undefined
}

/**
 * Sends the delivery to the queue, or stores it. Doing both is safe: the ledger accepts a transaction id
 * once.
 */
async function keep({ db, queue, bucket, traceparent }: IngestContext, delivery: Delivery): Promise<Kept> {
  let queueError: string | undefined
  try {
    if (queue && (await enqueueDelivery({ queue, bucket, traceparent }, delivery)))
      return { written: undefined, queueError }
  } catch (error) {
    queueError = queueErrorText(error)
  }
  const written = await writeDelivery(db, delivery).catch((error) => {
    // After an error the queue may have the delivery all the same, and store it later.
    throw queueError !== undefined && error instanceof DatabaseError
      ? new BatchInDoubt(delivery.batch, error)
      : error
  })
  return { written, queueError }
}
