import { randomUUID } from "node:crypto"
import { serve } from "@hono/node-server"
import { drizzle } from "drizzle-orm/node-postgres"
import { bigint, doublePrecision, jsonb, pgTable, smallint, text, timestamp, uuid } from "drizzle-orm/pg-core"
import { Hono } from "hono"
import pg from "pg"
import * as z from "zod"

/**
 * The same libraries as this service's, as their documentation shows them: zod for the body, drizzle's insert
 * of many values, on Node.
 */
const db = drizzle(new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 }))

const signals = pgTable("signals", {
  id: bigint({ mode: "number" }).primaryKey().generatedAlwaysAsIdentity(),
  transactionId: uuid("transaction_id").notNull(),
  time: timestamp({ withTimezone: true, mode: "string" }).notNull(),
  contextWindowId: text("context_window_id").notNull(),
  rawContent: text("raw_content"),
  signalSource: text("signal_source").notNull(),
  signalScore: doublePrecision("signal_score").notNull(),
  signalVector: text("signal_vector"),
  emotionalTone: doublePrecision("emotional_tone"),
  escalateFlag: smallint("escalate_flag").notNull(),
  agentId: text("agent_id"),
  userId: text("user_id"),
  payload: jsonb(),
  relationshipContext: text("relationship_context"),
  diagnosticNotes: text("diagnostic_notes"),
})

const optionalText = z.string().nullish()
const Signal = z.object({
  context_window_id: z.string(),
  timestamp: z.union([z.string(), z.number()]).nullish(),
  raw_content: optionalText,
  signal_source: optionalText,
  signal_score: z.number().nullish(),
  signal_vector: optionalText,
  emotional_tone: z.number().nullish(),
  escalate_flag: z.int().nullish(),
  agent_id: optionalText,
  user_id: optionalText,
  payload: z.record(z.string(), z.unknown()).nullish(),
  relationship_context: optionalText,
  diagnostic_notes: optionalText,
})
const Batch = z.object({ signals: z.array(Signal), fail_on_error: z.boolean().nullish() })

const isShare = (value) => value == null || (value >= 0 && value <= 1)
const isName = (value) => value == null || (value.length >= 1 && value.length <= 255)

function brokenRule(signal) {
  if (!isName(signal.context_window_id) || signal.context_window_id.trim() === "")
    return "context_window_id must be 1 to 255 characters long"
  if (!isName(signal.signal_source)) return "signal_source must be 1 to 255 characters long"
  if (!isShare(signal.signal_score)) return "signal_score must be between 0 and 1"
  if (!isShare(signal.emotional_tone)) return "emotional_tone must be between 0 and 1"
  if (signal.escalate_flag != null && signal.escalate_flag !== 0 && signal.escalate_flag !== 1)
    return "escalate_flag must be 0 or 1"
  if (typeof signal.timestamp === "string" && Number.isNaN(Date.parse(signal.timestamp)))
    return "timestamp must be ISO 8601"
}

function timeOf(timestamp) {
  if (timestamp == null) return new Date().toISOString()
  if (typeof timestamp === "string")
    return /([zZ]|[+-]\d\d:?\d\d)$/.test(timestamp) ? timestamp : `${timestamp}Z`
  return new Date(Math.abs(timestamp) > 2e10 ? timestamp : timestamp * 1000).toISOString()
}

const rowOf = (signal, transactionId) => ({
  transactionId,
  time: timeOf(signal.timestamp),
  contextWindowId: signal.context_window_id,
  rawContent: signal.raw_content ?? null,
  signalSource: signal.signal_source ?? "unknown",
  signalScore: signal.signal_score ?? 0.5,
  signalVector: signal.signal_vector ?? null,
  emotionalTone: signal.emotional_tone ?? null,
  escalateFlag: signal.escalate_flag ?? 0,
  agentId: signal.agent_id ?? null,
  userId: signal.user_id ?? null,
  payload: signal.payload ?? null,
  relationshipContext: signal.relationship_context ?? null,
  diagnosticNotes: signal.diagnostic_notes ?? null,
})

async function store(sent) {
  const transactionId = randomUUID()
  const errors = sent.map(brokenRule)
  const rows = sent
    .filter((_, index) => errors[index] === undefined)
    .map((signal) => rowOf(signal, transactionId))
  const ids = rows.length === 0 ? [] : await db.insert(signals).values(rows).returning({ id: signals.id })
  let next = 0
  return errors.map((error, index) =>
    error === undefined
      ? { index, success: true, signal_id: ids[next++].id, error: null }
      : { index, success: false, signal_id: null, error },
  )
}

const app = new Hono()
app.post("/api/signals/batch", async (c) => {
  const body = Batch.safeParse(await c.req.json())
  if (!body.success) return c.json({ detail: body.error.issues }, 422)
  return c.json({ results: await store(body.data.signals) })
})
app.post("/api/signals", async (c) => {
  const body = Signal.safeParse(await c.req.json())
  if (!body.success) return c.json({ detail: body.error.issues }, 422)
  const [{ signal_id: id, error }] = await store([body.data])
  return error ? c.json({ detail: error }, 422) : c.json({ id }, 201)
})
serve({ fetch: app.fetch, port: Number(process.env.PORT), hostname: "127.0.0.1" })
