import type { Context } from "hono"
import { planDelivery } from "../../bridges/plan-delivery.ts"
import { withShownChanges } from "../../bridges/slack/events.ts"
import { acceptDelivery, type ReceivedDelivery } from "../../ingest/accept-delivery.ts"
import type { IngestContext } from "../../ingest/context.ts"
import type { QueuedBatch } from "../../ingest/queue-batch.ts"
import { newBatch, storeBatch } from "../../ingest/store-batch.ts"
import { commonName } from "../../metrics/points.ts"
import { countCodes, countNew, countSources } from "../../signals/answer.ts"
import type { Rejected } from "../../signals/failures.ts"
import { type BatchPlan, type Delivered, planBatch } from "../../signals/plan.ts"
import type { DeliveryAnswer } from "../../signals/responses.ts"
import { type TimeLimit, timeLimitAt } from "../../signals/rules.ts"
import type { Signal } from "../../signals/schema.ts"
import { instantText } from "../../signals/timestamp.ts"
import { assertOutcome, BatchRefused, type NewBatch, type WrittenBatch } from "../../store/batches/batch.ts"
import { MAX_STATEMENT_CHARACTERS } from "../../store/dead-letters/bound-record.ts"
import { traceparentOf } from "../../trace.ts"
import { admitMore } from "../body/admission.ts"
import type { SentKey } from "../body/requests.ts"
import { type App, noteOutcome, type RequestOutcome } from "../request/context.ts"
import { timeValidation } from "../request/headers.ts"

/** The context of this request for `ingest`. */
export const ingestContext = (c: Context<App>): IngestContext => ({
  db: c.get("db"),
  queue: c.env.QUEUE,
  bucket: c.env.BUCKET,
  traceparent: traceparentFor(c),
  now: new Date(),
})

/** The latest timestamp that a signal of this request may have. */
export const timeLimitOf = (c: Context<App>, now: Date): TimeLimit =>
  timeLimitAt(now, c.get("settings").limits.maxFutureSeconds)

/** Plans the signals of a request by the rules, the caller's scopes and the present time. */
export function planRequested(c: Context<App>, signals: readonly (Signal | Rejected)[]): BatchPlan {
  const now = new Date()
  const mayBridge = c.get("caller").scopes.includes("bridge")
  const options = { mayBridge, timeLimit: timeLimitOf(c, now) }
  const plan = timeValidation(c, () => planBatch(signals, instantText(now), options))
  return mayBridge
    ? withShownChanges(plan, signals, { followEdits: c.get("settings").webhooks.followSlackEdits })
    : plan
}

function traceparentFor(c: Context<App>): string | undefined {
  const span = c.get("span")
  return span && traceparentOf(span)
}

/** Notes the request's mode and counts before its outcome is known. */
export function notePlan(c: Context<App>, plan: BatchPlan, mode: NonNullable<RequestOutcome["mode"]>): void {
  const sources = countSources(plan.rows)
  const codes = countCodes(plan.failures)
  noteOutcome(c, {
    mode,
    total: plan.total,
    failed: plan.failures.length,
    source: commonName(sources),
    sources,
    codes,
  })
}

/** Makes a batch of a plan, for this request's caller and its `Idempotency-Key` if it has one. */
export function requestedBatch(
  c: Context<App>,
  plan: BatchPlan,
  { allOrNothing, idempotency: sent }: { allOrNothing: boolean; idempotency: SentKey | undefined },
): NewBatch {
  const mode = allOrNothing ? "all-or-nothing" : "best-effort"
  const idempotency = sent && { key: sent.key, requestHash: `${mode}:${sent.digest}` }
  const batch = newBatch({ caller: c.get("caller").name, plan, allOrNothing, idempotency })
  noteOutcome(c, { transactionId: batch.transactionId })
  return batch
}

/** Stores a batch, and notes the outcome. Sets `Idempotency-Replayed` on a replayed answer. */
export async function storeRequested(
  c: Context<App>,
  batch: NewBatch,
  options?: { mayBeQueued: boolean },
): Promise<WrittenBatch> {
  const written = await storeBatch(ingestContext(c), batch, options).catch((error) => {
    if (error instanceof BatchRefused) noteOutcome(c, { codes: countCodes(error.failures) })
    throw error
  })
  const { transactionId, replayed, stored, failures, duplicates } = written
  assertOutcome(transactionId, written, batch.plan.total)
  const counts = { sources: countNew(batch.plan.rows, stored), codes: countCodes(failures) }
  noteOutcome(c, { failed: failures.length, duplicates, ...counts, transactionId, replayed })
  if (written.replayed) c.header("Idempotency-Replayed", "true")
  return written
}

/** Answers 202: the batch will be in the ledger, at `Location`. */
export function answerQueued(c: Context<App>, { record, replayed }: QueuedBatch, applied: readonly string[]) {
  const transactionId = record.transaction_id
  noteOutcome(c, { transactionId, replayed, queued: true })
  c.header("Preference-Applied", ["respond-async", ...applied].join(", "))
  c.header("Location", `/api/batches/${transactionId}`)
  if (replayed) c.header("Idempotency-Replayed", "true")
  return c.json(record, 202)
}

/** The heap of dead letters, of so large a part of the body: their JSON, and the JSON of their statement. */
const heapOfDeadLetters = (c: Context<App>, part: number) =>
  Math.ceil(2 * Math.min(MAX_STATEMENT_CHARACTERS, 2 * part * (c.get("bodyBytes") ?? 0)))

/** Accepts the records of a webhook with the bridge's result for each, and notes the outcome. */
export async function answerDelivery(
  c: Context<App>,
  received: Pick<ReceivedDelivery, "source" | "records"> & { delivered: readonly Delivered[] },
): Promise<DeliveryAnswer> {
  const { source, records, delivered } = received
  const context = ingestContext(c)
  const plan = planDelivery(delivered, instantText(context.now), { timeLimit: timeLimitOf(c, context.now) })
  notePlan(c, plan.plan, "delivery")
  const { total, failures: refused } = plan.plan
  if (refused.length > 0) await admitMore(c, heapOfDeadLetters(c, refused.length / total))
  const { answer, sources, scores, queueError } = await acceptDelivery(context, {
    source,
    caller: c.get("caller").name,
    records,
    plan,
  })
  const kinds = Object.keys(answer.skipped)
  const kind = kinds.length > 1 ? "mixed" : (kinds[0] ?? "")
  const scored = new Set(plan.scores.rows.map(({ index }) => index))
  noteOutcome(c, {
    total: answer.total_count - scored.size,
    skipped: delivered.length - answer.total_count,
    kind,
    ...(scored.size > 0 && { scores }),
  })
  if (queueError) noteOutcome(c, { error: queueError })
  const { transaction_id: transactionId, duplicate_count: duplicates = 0 } = answer
  const failures = answer.failures.filter(({ index }) => !scored.has(index))
  const counts = {
    failed: failures.length,
    duplicates: duplicates - scores.duplicates,
    sources,
    codes: countCodes(failures),
  }
  if (transactionId) noteOutcome(c, { transactionId, ...counts, queued: answer.state === "queued" })
  return answer
}
