import { zValidator } from "@hono/zod-validator"
import { type Context, Hono } from "hono"
import { answerBatch, type StoredBatch } from "../../signals/answer.ts"
import { ignoredFields, planBatch } from "../../signals/plan.ts"
import type { BatchRecord } from "../../signals/responses.ts"
import { BatchRequest } from "../../signals/schema.ts"
import { instantText } from "../../signals/timestamp.ts"
import { DatabaseError } from "../../store/errors.ts"
import { batchRecord, listBatches } from "../../store/read.ts"
import { requireScope } from "../auth.ts"
import { decodeBatch } from "../body.ts"
import type { App } from "../context.ts"
import { BatchPath, BatchQuery, LedgerQuery } from "../params.ts"
import { methodNotAllowed, notFound, rejectedBatch } from "../problems.ts"
import { queueBatch, queuedRecord } from "../queued.ts"
import { refuseShape, SYNCHRONOUS } from "../validation.ts"
import { newBatch, notePlan, storeBatch } from "../write.ts"

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
      const batch = plan.total > 0 ? await newBatch(c, plan, { allOrNothing }) : undefined
      const queued = batch && prefersAsync(preferences) ? await queueBatch(c, batch) : undefined
      if (queued) return c.json(queued, 202)

      const stored = batch ? await storeBatch(c, batch) : NOTHING_SENT
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
    const record = await recordOf(c, transaction_id)
    const mayRead = c.get("caller").scopes.includes("read") || record?.caller === c.get("caller").name
    if (!record || !mayRead) throw notFound("No batch has this transaction_id.")
    return c.json(record)
  })
  .all("/:transaction_id", () => {
    throw methodNotAllowed("GET")
  })

/** What the ledger says, or while it has nothing or can't be asked, what waits in the bucket. */
async function recordOf(c: Context<App>, transactionId: string): Promise<BatchRecord | undefined> {
  try {
    return (await batchRecord(c.get("db"), transactionId)) ?? (await queuedRecord(c, transactionId))
  } catch (error) {
    const queued = error instanceof DatabaseError ? await queuedRecord(c, transactionId) : undefined
    if (!queued) throw error
    return queued
  }
}

/** RFC 7240: preferences are separated by commas, parameters by semicolons, and case does not matter. */
const prefers = (preference: RegExp) => (header: string | undefined) =>
  (header ?? "").split(",").some((one) => preference.test(one))

const prefersMinimal = prefers(/^\s*return\s*=\s*"?minimal"?\s*(;|$)/i)
const prefersAsync = prefers(/^\s*respond-async\s*(;|$)/i)
