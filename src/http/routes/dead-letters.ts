import { zValidator } from "@hono/zod-validator"
import { type Context, Hono } from "hono"
import type { Delivered } from "../../bridges/delivery.ts"
import { mapKafkaRecord } from "../../bridges/kafka/requests.ts"
import { planDelivery } from "../../bridges/plan-delivery.ts"
import { mapSlackEvent } from "../../bridges/slack/events.ts"
import { parseJson } from "../../signals/json.ts"
import type { DeadLetterRecord, ReplayAnswer } from "../../signals/responses.ts"
import { instantText } from "../../signals/timestamp.ts"
import { BatchRefused } from "../../store/batch.ts"
import { deadLetterById, listDeadLetters, settleDeadLetter } from "../../store/dead-letters.ts"
import { writeBatch } from "../../store/write-batch.ts"
import { requireScope } from "../auth.ts"
import type { App } from "../context.ts"
import { DeadLetterPath, DeadLetterQuery } from "../params.ts"
import { methodNotAllowed, notFound } from "../problems.ts"
import { refuseShape } from "../validation.ts"
import { notePlan } from "../write.ts"

/** The dead letters: what was acknowledged and could not be stored. To be looked at, replayed once the cause is mended, or discarded. */
export const deadLetters = new Hono<App>()
  .get("/", requireScope("read"), zValidator("query", DeadLetterQuery, refuseShape), async (c) => {
    const { state, limit, cursor } = c.req.valid("query")
    const page = await listDeadLetters(c.get("db"), { state, limit, after: cursor })
    return c.json({ dead_letters: page.letters, next_cursor: page.next === null ? null : String(page.next) })
  })
  .all("/", () => {
    throw methodNotAllowed("GET")
  })
  .get("/:id", requireScope("read"), zValidator("param", DeadLetterPath, refuseShape), async (c) =>
    c.json(await letterOf(c, c.req.valid("param").id)),
  )
  .delete("/:id", requireScope("read"), requireScope("ingest"), zValidator("param", DeadLetterPath, refuseShape), async (c) => {
    const { id } = c.req.valid("param")
    await letterOf(c, id)
    await settleDeadLetter(c.get("db"), id, "discarded")
    return c.json(await letterOf(c, id))
  })
  .all("/:id", () => {
    throw methodNotAllowed("GET, DELETE")
  })
  .post(
    "/:id/replay",
    requireScope("read"),
    requireScope("ingest"),
    zValidator("param", DeadLetterPath, refuseShape),
    async (c) => {
      const letter = await letterOf(c, c.req.valid("param").id)
      const answer = letter.source === "queue" ? await sendAgain(c, letter) : await storeAgain(c, letter)
      if (answer.replayed) await settleDeadLetter(c.get("db"), letter.id, "replayed")
      return c.json(answer)
    },
  )
  .all("/:id/replay", () => {
    throw methodNotAllowed("POST")
  })

async function letterOf(c: Context<App>, id: number): Promise<DeadLetterRecord> {
  const letter = await deadLetterById(c.get("db"), id)
  if (!letter) throw notFound("No dead letter has this id.")
  return letter
}

/** Reads the record as its way in does today, and stores it under the letter's own transaction id, so once however often it is replayed. */
async function storeAgain(c: Context<App>, letter: DeadLetterRecord): Promise<ReplayAnswer> {
  const { plan, skipped } = planDelivery([deliveredOf(c, letter)], instantText(new Date()))
  const [failure] = plan.failures
  if (failure) return { replayed: false, reason: failure.error }
  if (plan.total === 0) return { replayed: false, reason: `It is of a kind that is skipped: ${Object.keys(skipped).join()}.` }
  const transactionId = letter.replay_transaction_id
  try {
    await writeBatch(c.get("db"), { transactionId, caller: letter.caller, plan, allOrNothing: true })
    // What was told as failed when it came in is told as stored once.
    if (letter.state !== "replayed") notePlan(c, plan, "delivery")
    return { replayed: true, transaction_id: transactionId }
  } catch (error) {
    if (error instanceof BatchRefused) return { replayed: false, reason: error.failures[0]?.error ?? "refused by the database" }
    throw error
  }
}

function deliveredOf(c: Context<App>, { source, record }: DeadLetterRecord): Delivered {
  const value = parseJson(record)
  if (source === "slack") return mapSlackEvent(value)
  if (source === "kafka")
    return mapKafkaRecord(value as Parameters<typeof mapKafkaRecord>[0], c.get("settings").webhooks.kafkaMapping)
  return { signal: value as Record<string, unknown> }
}

/** A message of the queue has its own transaction id, under which it is stored once. */
async function sendAgain(c: Context<App>, { record }: DeadLetterRecord): Promise<ReplayAnswer> {
  const { QUEUE: queue } = c.env
  if (!queue) return { replayed: false, reason: "There is no queue to send it to." }
  await queue.send(JSON.parse(record), { contentType: "text" })
  return { replayed: true }
}
