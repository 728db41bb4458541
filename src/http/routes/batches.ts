import { zValidator } from "@hono/zod-validator"
import { Hono } from "hono"
import { findBatch, queueBatch } from "../../ingest/queue-batch.ts"
import { answerBatch, type StoredBatch } from "../../signals/answer.ts"
import { listBatches } from "../../store/ledger/read.ts"
import { readBatch } from "../body/requests.ts"
import { requireScope } from "../request/auth.ts"
import { type App, noteOutcome } from "../request/context.ts"
import { readPreferences } from "../request/headers.ts"
import { limitWork } from "../request/limits.ts"
import { BatchesQuery, BatchPath, BatchQuery, refuseShape } from "../request/params.ts"
import { methodNotAllowed, notFound, rejectedBatch } from "../request/problems.ts"
import {
  answerQueued,
  ingestContext,
  notePlan,
  planRequested,
  requestedBatch,
  storeRequested,
} from "./ingest-request.ts"

const NOTHING_SENT: StoredBatch = { transactionId: null, stored: [], failures: [] }

/** POST /api/signals/batch: reads, plans and stores a batch once, and answers. */
export const signalBatches = new Hono<App>()
  .post("/", requireScope("ingest"), zValidator("query", BatchQuery, refuseShape), async (c) => {
    const preferences = readPreferences(c.req.header("Prefer"))
    const asked = {
      failOnError: c.req.valid("query").fail_on_error ?? false,
      lenient: preferences.get("handling")?.toLowerCase() === "lenient",
    }
    const {
      signals,
      failOnError: allOrNothing,
      lenient,
      ignoredFields,
      idempotency,
    } = await readBatch(c, asked)
    const plan = planRequested(c, signals)
    notePlan(c, plan, allOrNothing ? "all_or_nothing" : "best_effort")
    await limitWork(c, { signals: signals.length, bytes: c.get("bodyBytes") })
    if (allOrNothing && plan.failures.length > 0) throw rejectedBatch(plan.failures)

    let mayBeQueued = false
    const batch = plan.total > 0 ? requestedBatch(c, plan, { allOrNothing, idempotency }) : undefined
    const applied = lenient ? ["handling=lenient"] : []
    if (batch && preferences.has("respond-async")) {
      const queued = await queueBatch(ingestContext(c), batch)
      if ("record" in queued) return answerQueued(c, queued, applied)
      if (queued.queueError) noteOutcome(c, { error: queued.queueError })
      mayBeQueued = queued.mayBeQueued
    }

    const stored = batch ? await storeRequested(c, batch, { mayBeQueued }) : NOTHING_SENT
    const minimal = preferences.get("return")?.toLowerCase() === "minimal"
    if (minimal) applied.unshift("return=minimal")
    if (applied.length > 0) c.header("Preference-Applied", applied.join(", "))
    return c.json(answerBatch(stored, { minimal, ignoredFields }))
  })
  // Other methods must not go on to /api/signals/:id.
  .all("/", () => {
    throw methodNotAllowed(["POST"])
  })

/**
 * GET /api/batches: the ledger, newest first. GET /api/batches/{transaction_id}: one batch of the ledger. A
 * key with only the scope `ingest` sees its own batches.
 */
export const ledger = new Hono<App>()
  .get("/", requireScope("read"), zValidator("query", BatchesQuery, refuseShape), async (c) => {
    const { cursor, limit, failed, failure_code: failureCode } = c.req.valid("query")
    const page = await listBatches(c.get("db"), { after: cursor, limit, failed, failureCode })
    return c.json({ batches: page.batches, next_cursor: page.next })
  })
  .get(
    "/:transaction_id",
    requireScope("read", "ingest"),
    zValidator("param", BatchPath, refuseShape),
    async (c) => {
      const { transaction_id } = c.req.valid("param")
      const record = await findBatch(ingestContext(c), transaction_id)
      const mayRead = c.get("caller").scopes.includes("read") || record?.caller === c.get("caller").name
      if (!record || !mayRead) throw notFound("No batch has this transaction_id.")
      return c.json(record)
    },
  )
