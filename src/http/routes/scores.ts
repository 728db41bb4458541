import { zValidator } from "@hono/zod-validator"
import { Hono } from "hono"
import { uuidv7 } from "uuidv7"
import { planScores } from "../../scores/plan.ts"
import { answerBatch, type StoredBatch } from "../../signals/answer.ts"
import { instantText } from "../../signals/timestamp.ts"
import { writeScores } from "../../store/scores/write.ts"
import { readScores } from "../body/score-requests.ts"
import { requireScope } from "../request/auth.ts"
import { type App, noteOutcome } from "../request/context.ts"
import { readPreferences, timeValidation } from "../request/headers.ts"
import { limitWork } from "../request/limits.ts"
import { BatchQuery, refuseShape } from "../request/params.ts"
import { rejectedBatch } from "../request/problems.ts"
import { timeLimitOf } from "./ingest-request.ts"

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
    const { failOnError: allOrNothing, lenient, ignoredFields, idempotency } = sent
    const now = new Date()
    const plan = timeValidation(c, () => planScores(sent.scores, instantText(now), timeLimitOf(c, now)))
    await limitWork(c, { signals: plan.total, bytes: c.get("bodyBytes") })
    if (allOrNothing && plan.failures.length > 0) throw rejectedBatch(plan.failures)

    const transactionId = uuidv7()
    const mode = allOrNothing ? "all-or-nothing" : "best-effort"
    const batch = {
      transactionId,
      caller: c.get("caller").name,
      plan,
      allOrNothing,
      idempotency: idempotency && { key: idempotency.key, requestHash: `${mode}:${idempotency.digest}` },
    }
    if (plan.total > 0) noteOutcome(c, { transactionId })
    const stored = plan.total > 0 ? await writeScores(c.get("db"), batch) : undefined
    if (stored) noteOutcome(c, { transactionId: stored.transactionId, replayed: stored.replayed })
    if (stored?.replayed) c.header("Idempotency-Replayed", "true")
    const minimal = preferences.get("return")?.toLowerCase() === "minimal"
    const applied = [minimal && "return=minimal", lenient && "handling=lenient"].filter(Boolean)
    if (applied.length > 0) c.header("Preference-Applied", applied.join(", "))
    return c.json(answerBatch(stored ?? NOTHING_SENT, { minimal, ignoredFields }))
  },
)
