import { zValidator } from "@hono/zod-validator"
import { type Context, Hono } from "hono"
import type { StoredId } from "../../signals/answer.ts"
import type { Failure, StoredSignal } from "../../signals/responses.ts"
import { BatchRefused } from "../../store/batches/batch.ts"
import { DatabaseError } from "../../store/database/errors.ts"
import { batchRecord } from "../../store/ledger/read.ts"
import { listSignals, scoresOf, signalById, signalStats } from "../../store/signals/read.ts"
import { storedSignal } from "../../store/signals/stored-signal.ts"
import { readSignal } from "../body/requests.ts"
import { requireScope } from "../request/auth.ts"
import type { App } from "../request/context.ts"
import { limitWork } from "../request/limits.ts"
import { encodeCursor, ListQuery, refuseShape, SignalPath, StatsQuery } from "../request/params.ts"
import { withPayload } from "../request/payload-params.ts"
import { invalidShape, notFound, payloadTooLarge } from "../request/problems.ts"
import { notePlan, planRequested, requestedBatch, storeRequested } from "./ingest-request.ts"

/** The routes of signals: store one, read one, pages, statistics. */
export const signals = new Hono<App>()
  .post("/", requireScope("ingest"), async (c) => {
    const { signal, idempotency } = await readSignal(c)
    const plan = planRequested(c, [signal])
    notePlan(c, plan, "single")
    const [row] = plan.rows
    if (!row) throw refusedSignal(plan.failures[0])
    await limitWork(c, { signals: 1, bytes: c.get("bodyBytes") })
    const written = await storeRequested(
      c,
      requestedBatch(c, plan, { allOrNothing: true, idempotency }),
    ).catch((error) => {
      throw error instanceof BatchRefused ? refusedSignal(error.failures[0]) : error
    })
    const [stored] = written.stored
    if (!stored) throw refusedSignal(written.failures[0])
    if (stored.duplicate)
      return c.json({ ...(await unlessFailed(firstOf(c, stored))), id: stored.id, duplicate: true }, 200)
    const asStored = storedSignal(row, stored.id ?? 0, written)
    // The row may have been deleted since the first request: then the answer is built from this one, which is
    // identical.
    const first = written.replayed ? await unlessFailed(signalById(c.get("db"), asStored.id)) : undefined
    return c.json(first ?? asStored, 201)
  })
  .get("/", requireScope("read"), zValidator("query", withPayload(ListQuery), refuseShape), async (c) => {
    const query = c.req.valid("query")
    const page = await listSignals(c.get("db"), { ...query, after: query.cursor })
    return c.json({ signals: page.signals, next_cursor: page.next ? encodeCursor(page.next) : null })
  })
  .get("/stats", requireScope("read"), zValidator("query", StatsQuery, refuseShape), async (c) => {
    return c.json({ stats: await signalStats(c.get("db"), c.req.valid("query")) })
  })
  .get("/:id", requireScope("read"), zValidator("param", SignalPath, refuseShape), async (c) => {
    const { id } = c.req.valid("param")
    const [signal, scores] = await Promise.all([signalById(c.get("db"), id), scoresOf(c.get("db"), id)])
    if (!signal) throw notFound("No signal has this id.")
    if (signal.payload_omitted) throw payloadTooLarge()
    return c.json({ ...signal, scores })
  })

/** The signal is stored, so an error of the database while it is read must not become the answer. */
async function unlessFailed<Row>(read: Promise<Row | undefined>): Promise<Row | undefined> {
  return read.catch((error) => {
    if (error instanceof DatabaseError) return undefined
    throw error
  })
}

/**
 * The row of the signal with a `dedupe_key`, for a caller that may read it: with the scope `read`, or when
 * its own batch stored the signal.
 */
async function firstOf(c: Context<App>, { id }: StoredId): Promise<StoredSignal | undefined> {
  const db = c.get("db")
  const { name, scopes } = c.get("caller")
  const first = id === null ? undefined : await signalById(db, id)
  if (!first || scopes.includes("read")) return first
  return (await batchRecord(db, first.transaction_id))?.caller === name ? first : undefined
}

/**
 * A rule violation of a single signal has the status of a validation error, so it has the code of the
 * request.
 */
function refusedSignal(failure: Failure | undefined) {
  const loc = failure?.field === undefined ? ["body"] : ["body", failure.field]
  return invalidShape([{ type: "value_error", loc, msg: failure?.error ?? "" }])
}
