import { randomUUID } from "node:crypto"
import { PrismaPg } from "@prisma/adapter-pg"
import Fastify from "fastify"
import { PrismaClient } from "./client/index.js"

/** Fastify and Prisma's `createManyAndReturn`. */
const prisma = new PrismaClient({
  adapter: new PrismaPg({ connectionString: process.env.DATABASE_URL, max: 10 }),
})

const text = { type: ["string", "null"] }
const number = { type: ["number", "null"] }
const Signal = {
  type: "object",
  required: ["context_window_id"],
  properties: {
    context_window_id: { type: "string" },
    timestamp: { type: ["string", "number", "null"] },
    raw_content: text,
    signal_source: text,
    signal_score: number,
    signal_vector: text,
    emotional_tone: number,
    escalate_flag: { type: ["integer", "null"] },
    agent_id: text,
    user_id: text,
    payload: { type: ["object", "null"], additionalProperties: true },
    relationship_context: text,
    diagnostic_notes: text,
  },
}
const Batch = {
  type: "object",
  required: ["signals"],
  properties: { signals: { type: "array", items: Signal }, fail_on_error: { type: ["boolean", "null"] } },
}

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
  if (Number.isNaN(timeOf(signal.timestamp).getTime())) return "timestamp must be ISO 8601"
}

function timeOf(timestamp) {
  if (timestamp == null) return new Date()
  if (typeof timestamp === "number")
    return new Date(Math.abs(timestamp) > 2e10 ? timestamp : timestamp * 1000)
  return new Date(/([zZ]|[+-]\d\d:?\d\d)$/.test(timestamp) ? timestamp : `${timestamp}Z`)
}

const rowOf = (signal, transactionId) => ({
  transactionId,
  time: timeOf(signal.timestamp),
  contextWindowId: signal.context_window_id,
  rawContent: signal.raw_content,
  signalSource: signal.signal_source ?? "unknown",
  signalScore: signal.signal_score ?? 0.5,
  signalVector: signal.signal_vector,
  emotionalTone: signal.emotional_tone,
  escalateFlag: signal.escalate_flag ?? 0,
  agentId: signal.agent_id,
  userId: signal.user_id,
  payload: signal.payload ?? undefined,
  relationshipContext: signal.relationship_context,
  diagnosticNotes: signal.diagnostic_notes,
})

async function store(signals) {
  const transactionId = randomUUID()
  const errors = signals.map(brokenRule)
  const data = signals
    .filter((_, index) => errors[index] === undefined)
    .map((signal) => rowOf(signal, transactionId))
  const ids = data.length === 0 ? [] : await prisma.signal.createManyAndReturn({ data, select: { id: true } })
  let next = 0
  return errors.map((error, index) =>
    error === undefined
      ? { index, success: true, signal_id: Number(ids[next++].id), error: null }
      : { index, success: false, signal_id: null, error },
  )
}

const app = Fastify({ bodyLimit: 8 * 1024 * 1024, ajv: { customOptions: { allowUnionTypes: true } } })
app.post("/api/signals/batch", { schema: { body: Batch } }, async ({ body }) => ({
  results: await store(body.signals),
}))
app.post("/api/signals", { schema: { body: Signal } }, async ({ body }, reply) => {
  const [{ signal_id: id, error }] = await store([body])
  return error ? reply.code(422).send({ detail: error }) : reply.code(201).send({ id })
})
await app.listen({ port: Number(process.env.PORT), host: "127.0.0.1" })
