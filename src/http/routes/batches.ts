import { zValidator } from "@hono/zod-validator"
import { type Context, Hono } from "hono"
import { findBatch } from "../../ingest/batch-record.ts"
import { type QueuedBatch, queueBatch } from "../../ingest/queue-batch.ts"
import { answerBatch, type StoredBatch } from "../../signals/answer.ts"
import { ignoredFields, planBatch } from "../../signals/plan.ts"
import { BatchRequest } from "../../signals/schema.ts"
import { instantText } from "../../signals/timestamp.ts"
import { listBatches } from "../../store/read.ts"
import { requireScope } from "../auth.ts"
import { decodeBatch } from "../body.ts"
import { type App, noteOutcome } from "../context.ts"
import { BatchPath, BatchQuery, LedgerQuery } from "../params.ts"
import { methodNotAllowed, notFound, rejectedBatch } from "../problems.ts"
import { refuseShape, SYNCHRONOUS } from "../validation.ts"
import { ingestContext, notePlan, requestedBatch, storeRequested } from "../write.ts"

const NOTHING_SENT: StoredBatch = { transactionId: null, stored: [], failures: [] }

/** POST /api/signals/batch: decode, judge, write once, answer. */
export const signalBatches = new Hono<App>()
  .post(
    "/",
    requireScope("ingest"),
    decodeBatch,
    zValidator("query", BatchQuery, refuseShape),
    zValidator("json", BatchRequest, refuseShape, SYNCHRONOUS),
    async (c) => {
      const request = c.req.valid("json")
      const allOrNothing = request.fail_on_error ?? c.req.valid("query").fail_on_error ?? false
      const plan = planBatch(request.signals, instantText(new Date()))
      notePlan(c, plan, allOrNothing ? "all_or_nothing" : "best_effort")
      if (allOrNothing && plan.failures.length > 0) throw rejectedBatch(plan.failures)

      const preferences = c.req.header("Prefer")
      const batch = plan.total > 0 ? await requestedBatch(c, plan, { allOrNothing }) : undefined
      if (batch && prefersAsync(preferences)) {
        const queued = await queueBatch(ingestContext(c), batch)
        if ("record" in queued) return answerQueued(c, queued)
        if (queued.queueError) noteOutcome(c, { fault: queued.queueError })
      }

      const stored = batch ? await storeRequested(c, batch) : NOTHING_SENT
      const minimal = prefersMinimal(preferences)
      if (minimal) c.header("Preference-Applied", "return=minimal")
      return c.json(answerBatch(stored, { minimal, ignoredFields: ignoredFields(request) }))
    },
  )
  .all("/", () => {
    throw methodNotAllowed("POST")
  })

/** GET /api/batches: the ledger, newest first. GET /api/batches/{transaction_id}: what the ledger says of a batch. A key that may only ingest sees its own batches. */
export const ledger = new Hono<App>()
  .get("/", requireScope("read"), zValidator("query", LedgerQuery, refuseShape), async (c) => {
    const { cursor, limit } = c.req.valid("query")
    const page = await listBatches(c.get("db"), { after: cursor, limit })
    return c.json({ batches: page.batches, next_cursor: page.next })
  })
  .all("/", () => {
    throw methodNotAllowed("GET")
  })
  .get("/:transaction_id", requireScope("read", "ingest"), zValidator("param", BatchPath, refuseShape), async (c) => {
    const { transaction_id } = c.req.valid("param")
    const record = await findBatch(ingestContext(c), transaction_id)
    const mayRead = c.get("caller").scopes.includes("read") || record?.caller === c.get("caller").name
    if (!record || !mayRead) throw notFound("No batch has this transaction_id.")
    return c.json(record)
  })
  .all("/:transaction_id", () => {
    throw methodNotAllowed("GET")
  })

/** 202: the batch will be in the ledger, at `Location`. */
function answerQueued(c: Context<App>, { record, replayed }: QueuedBatch) {
  const transactionId = record.transaction_id
  noteOutcome(c, { transactionId, replayed, queued: true })
  c.header("Preference-Applied", "respond-async")
  c.header("Location", `/api/batches/${transactionId}`)
  if (replayed) c.header("Idempotency-Replayed", "true")
  return c.json(record, 202)
}

/** RFC 7240: preferences are separated by commas, parameters by semicolons, and case does not matter. */
const prefers = (preference: RegExp) => (header: string | undefined) =>
  (header ?? "").split(",").some((one) => preference.test(one))

const prefersMinimal = prefers(/^\s*return\s*=\s*"?minimal"?\s*(;|$)/i)
const prefersAsync = prefers(/^\s*respond-async\s*(;|$)/i)
