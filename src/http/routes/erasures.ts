import { waitUntil } from "cloudflare:workers"
import { zValidator } from "@hono/zod-validator"
import { type Context, Hono } from "hono"
import { errorForLog } from "../../errors.ts"
import { continueErasure } from "../../ingest/erase.ts"
import { ErasureRequest } from "../../signals/erasure.ts"
import { connect } from "../../store/database/connection.ts"
import {
  type ErasureTarget,
  enterErasure,
  findErasure,
  listErasures,
} from "../../store/lifecycle/erasures.ts"
import { readRequest } from "../body/requests.ts"
import { requireScope } from "../request/auth.ts"
import { type App, noteOutcome } from "../request/context.ts"
import { ErasurePath, LedgerQuery, refuseShape } from "../request/params.ts"
import { notFound } from "../request/problems.ts"

/** The runtime stops work in `waitUntil` 30 seconds after the answer. */
const WORK_MS = 20_000

/**
 * POST /api/erasures: records an erasure, and starts it. GET: the erasures, newest first, or one of them.
 * Reading one also continues it, so that a waiting caller need not wait for the cron.
 */
export const erasures = new Hono<App>()
  .post("/", requireScope("admin"), async (c) => {
    const { request, idempotency } = await readRequest(c, ErasureRequest, "erasure:")
    const { record, replayed } = await enterErasure(c.get("db"), {
      requestedBy: c.get("caller").name,
      target: targetOf(request),
      suppress: request.suppress ?? false,
      idempotency: idempotency && { key: idempotency.key, requestHash: idempotency.digest },
    })
    if (record.state === "running") workOn(c, record.id)
    noteOutcome(c, { replayed })
    c.header("Location", `/api/erasures/${record.id}`)
    if (replayed) c.header("Idempotency-Replayed", "true")
    return c.json(record, 202)
  })
  .get("/", requireScope("admin"), zValidator("query", LedgerQuery, refuseShape), async (c) => {
    const { cursor, limit } = c.req.valid("query")
    const page = await listErasures(c.get("db"), { after: cursor, limit })
    return c.json({ erasures: page.erasures, next_cursor: page.next })
  })
  .get("/:erasure_id", requireScope("admin"), zValidator("param", ErasurePath, refuseShape), async (c) => {
    const record = await findErasure(c.get("db"), c.req.valid("param").erasure_id)
    if (!record) throw notFound("No erasure has this id.")
    if (record.state === "running") workOn(c, record.id)
    return c.json(record)
  })

function targetOf({ user_id, agent_id, context_window_id, signal_ids }: ErasureRequest): ErasureTarget {
  if (signal_ids != null) return { kind: "signal_ids", signalIds: signal_ids }
  if (user_id != null) return { kind: "user_id", subject: user_id }
  if (agent_id != null) return { kind: "agent_id", subject: agent_id }
  return { kind: "context_window_id", subject: context_window_id ?? "" }
}

/** Works on an erasure after the answer. The next request for it, or the cron, continues the rest. */
function workOn(c: Context<App>, id: string): void {
  const { database } = c.get("settings")
  const db = connect({ ...database, deadlineMs: WORK_MS }, { traffic: "consumer" })
  const { QUEUE: queue, BUCKET: bucket } = c.env
  const requestId = c.get("requestId")
  const work = continueErasure({ db, queue, bucket }, id, Date.now() + WORK_MS)
  waitUntil(
    work.catch((error) =>
      console.log(
        JSON.stringify({ event: "erasure", request_id: requestId, erasure: id, error: errorForLog(error) }),
      ),
    ),
  )
}
