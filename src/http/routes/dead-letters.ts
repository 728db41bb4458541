import { zValidator } from "@hono/zod-validator"
import { type Context, Hono } from "hono"
import { type ReplayContext, replayDeadLetter, replayDeadLetters } from "../../ingest/replay.ts"
import type { DeadLetterRecord } from "../../signals/responses.ts"
import { deadLetterById, listDeadLetters, settleDeadLetter } from "../../store/dead-letters/store.ts"
import { requireScope } from "../request/auth.ts"
import type { App } from "../request/context.ts"
import { DeadLetterPath, DeadLetterQuery, ReplayQuery, refuseShape } from "../request/params.ts"
import { methodNotAllowed, notFound } from "../request/problems.ts"
import { ingestContext, notePlan, timeLimitOf } from "./ingest-request.ts"

/** The routes of dead letters: list, read, replay after the cause is repaired, discard. */
export const deadLetters = new Hono<App>()
  .get("/", requireScope("read"), zValidator("query", DeadLetterQuery, refuseShape), async (c) => {
    const { cursor, transaction_id: transactionId, ...query } = c.req.valid("query")
    const state = query.state ?? (transactionId ? undefined : "waiting")
    const page = await listDeadLetters(c.get("db"), { ...query, state, transactionId, after: cursor })
    return c.json({
      dead_letters: page.deadLetters,
      next_cursor: page.next === null ? null : String(page.next),
    })
  })
  .post(
    "/replay",
    requireScope("read"),
    requireScope("ingest"),
    zValidator("query", ReplayQuery, refuseShape),
    async (c) => {
      const { cursor, ...choice } = c.req.valid("query")
      const { answer, stored } = await replayDeadLetters(replayContext(c), { ...choice, after: cursor })
      notePlan(c, stored, "delivery")
      return c.json(answer)
    },
  )
  // Other methods must not go on to /:id.
  .all("/replay", () => {
    throw methodNotAllowed(["POST"])
  })
  .get("/:id", requireScope("read"), zValidator("param", DeadLetterPath, refuseShape), async (c) =>
    c.json(await deadLetterOf(c, c.req.valid("param").id)),
  )
  .delete(
    "/:id",
    requireScope("read"),
    requireScope("ingest"),
    zValidator("param", DeadLetterPath, refuseShape),
    async (c) => {
      const { id } = c.req.valid("param")
      await deadLetterOf(c, id)
      await settleDeadLetter(c.get("db"), id, "discarded")
      return c.json(await deadLetterOf(c, id))
    },
  )
  .post(
    "/:id/replay",
    requireScope("read"),
    requireScope("ingest"),
    zValidator("param", DeadLetterPath, refuseShape),
    async (c) => {
      const deadLetter = await deadLetterOf(c, c.req.valid("param").id)
      const { answer, stored } = await replayDeadLetter(replayContext(c), deadLetter)
      if (stored) notePlan(c, stored, "delivery")
      return c.json(answer)
    },
  )

function replayContext(c: Context<App>): ReplayContext {
  const context = ingestContext(c)
  const { kafkaMapping: mapping, followSlackEdits } = c.get("settings").webhooks
  return { ...context, mapping, followSlackEdits, timeLimit: timeLimitOf(c, context.now) }
}

async function deadLetterOf(c: Context<App>, id: number): Promise<DeadLetterRecord> {
  const deadLetter = await deadLetterById(c.get("db"), id)
  if (!deadLetter) throw notFound("No dead letter has this id.")
  return deadLetter
}
