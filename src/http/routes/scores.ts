import { zValidator } from "@hono/zod-validator"
import { type Context, Hono } from "hono"
import { uuidv7 } from "uuidv7"
import { queueBatch } from "../../ingest/queue-batch.ts"
import { storeBatch } from "../../ingest/store-batch.ts"
import { planScores, type ScorePlan } from "../../scores/plan.ts"
import { answerScores, countCodes, isWaiting, type StoredBatch } from "../../signals/answer.ts"
import { instantText } from "../../signals/timestamp.ts"
import { assertOutcome, BatchRefused, type NewScores, type WrittenBatch } from "../../store/batches/batch.ts"
import { readScores, type SentScores } from "../body/score-requests.ts"
import { requireScope } from "../request/auth.ts"
import { type App, noteOutcome } from "../request/context.ts"
import { readPreferences, timeValidation } from "../request/headers.ts"
import { limitWork } from "../request/limits.ts"
import { BatchQuery, refuseShape } from "../request/params.ts"
import { rejectedBatch } from "../request/problems.ts"
import { answerQueued, ingestContext, timeLimitOf } from "./ingest-request.ts"

const NOTHING_SENT: StoredBatch = { transactionId: null, stored: [], failures: [] }

/** POST /api/scores: reads, plans and stores a batch of scores once, and answers as a batch of signals. */
export const scores = new Hono<App>().post(
  "/",
  requireScope("ingest"),
  zValidator("query", BatchQuery, refuseShape),
  async (c) => {
    const preferences = readPreferences(c.req.header("Prefer"))
    const sent = await readScores(c, {
      failOnError: c.req.valid("query").fail_on_error ?? false,
      lenient: preferences.get("handling")?.toLowerCase() === "lenient",
    })
    const now = new Date()
    const plan = timeValidation(c, () => planScores(sent.scores, instantText(now), timeLimitOf(c, now)))
    noteScores(c, sent, plan)
    await limitWork(c, { signals: plan.total, bytes: c.get("bodyBytes") })
    if (sent.failOnError && plan.failures.length > 0) throw rejectedBatch(plan.failures)

    let mayBeQueued = false
    const batch = plan.total > 0 ? requestedScores(c, sent, plan) : undefined
    const applied = sent.lenient ? ["handling=lenient"] : []
    if (batch && preferences.has("respond-async")) {
      const queued = await queueBatch(ingestContext(c), batch)
      if ("record" in queued) return answerQueued(c, queued, applied)
      if (queued.queueError) noteOutcome(c, { error: queued.queueError })
      mayBeQueued = queued.mayBeQueued
    }

    const stored = batch ? await storeRequestedScores(c, batch, { mayBeQueued }) : NOTHING_SENT
    const minimal = preferences.get("return")?.toLowerCase() === "minimal"
    if (minimal) applied.unshift("return=minimal")
    if (applied.length > 0) c.header("Preference-Applied", applied.join(", "))
    return c.json(answerScores(stored, { minimal, ignoredFields: sent.ignoredFields }))
  },
)

/** Notes the request's mode and counts before its outcome is known. */
function noteScores(c: Context<App>, { failOnError }: SentScores, { total, failures }: ScorePlan): void {
  const mode = failOnError ? "all_or_nothing" : "best_effort"
  noteOutcome(c, { mode, total, failed: failures.length, codes: countCodes(failures) })
}

function requestedScores(c: Context<App>, sent: SentScores, plan: ScorePlan): NewScores {
  const { failOnError: allOrNothing, idempotency } = sent
  const transactionId = uuidv7()
  noteOutcome(c, { transactionId })
  const mode = allOrNothing ? "all-or-nothing" : "best-effort"
  return {
    kind: "scores",
    transactionId,
    caller: c.get("caller").name,
    plan,
    allOrNothing,
    idempotency: idempotency && { key: idempotency.key, requestHash: `${mode}:${idempotency.digest}` },
  }
}

/** Stores a batch of scores, and notes the outcome. Sets `Idempotency-Replayed` on a replayed answer. */
async function storeRequestedScores(
  c: Context<App>,
  batch: NewScores,
  options: { mayBeQueued: boolean },
): Promise<WrittenBatch> {
  const written = await storeBatch(ingestContext(c), batch, options).catch((error) => {
    if (error instanceof BatchRefused) noteOutcome(c, { codes: countCodes(error.failures) })
    throw error
  })
  const { transactionId, replayed, stored, failures, duplicates } = written
  assertOutcome(transactionId, written, batch.plan.total, { isAscending: false })
  const counts = { failed: failures.length, duplicates, waiting: stored.filter(isWaiting).length }
  noteOutcome(c, { ...counts, codes: countCodes(failures), transactionId, replayed })
  if (replayed) c.header("Idempotency-Replayed", "true")
  return written
}
