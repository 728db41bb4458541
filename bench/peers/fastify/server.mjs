import { randomUUID } from "node:crypto"
import Fastify from "fastify"
import pg from "pg"

/** The fast way with Node: Fastify, its compiled JSON schemas, one prepared statement over arrays by pg. */
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 })

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
  if (typeof signal.timestamp === "string" && Number.isNaN(Date.parse(signal.timestamp)))
    return "timestamp must be ISO 8601"
}

const quoted = (value) =>
  value == null ? "NULL" : `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`
const plain = (value) => (value == null ? "NULL" : String(value))

/** The text of an array for Postgres: pg's own takes longer. */
const literal = (rows, read, write) => `{${rows.map((row) => write(read(row))).join()}}`

const COLUMNS = [
  ["time", "timestamptz", ({ timestamp }) => timeOf(timestamp), quoted],
  ["context_window_id", "text", (signal) => signal.context_window_id, quoted],
  ["raw_content", "text", (signal) => signal.raw_content, quoted],
  ["signal_source", "text", (signal) => signal.signal_source ?? "unknown", quoted],
  ["signal_score", "float8", (signal) => signal.signal_score ?? 0.5, plain],
  ["signal_vector", "text", (signal) => signal.signal_vector, quoted],
  ["emotional_tone", "float8", (signal) => signal.emotional_tone, plain],
  ["escalate_flag", "int2", (signal) => signal.escalate_flag ?? 0, plain],
  ["agent_id", "text", (signal) => signal.agent_id, quoted],
  ["user_id", "text", (signal) => signal.user_id, quoted],
  ["payload", "jsonb", (signal) => signal.payload && JSON.stringify(signal.payload), quoted],
  ["relationship_context", "text", (signal) => signal.relationship_context, quoted],
  ["diagnostic_notes", "text", (signal) => signal.diagnostic_notes, quoted],
]

function timeOf(timestamp) {
  if (timestamp == null) return new Date().toISOString()
  if (typeof timestamp === "string")
    return /([zZ]|[+-]\d\d:?\d\d)$/.test(timestamp) ? timestamp : `${timestamp}Z`
  return new Date(Math.abs(timestamp) > 2e10 ? timestamp : timestamp * 1000).toISOString()
}

const names = COLUMNS.map(([name]) => name).join(", ")
const STATEMENT = `insert into signals (transaction_id, ${names}) select $1, ${COLUMNS.map(([name]) => `s.${name}`).join(", ")}
  from unnest(${COLUMNS.map(([, type], place) => `$${place + 2}::${type}[]`).join(", ")}) with ordinality as s (${names}, place)
  order by s.place returning id`

async function store(signals) {
  const errors = signals.map(brokenRule)
  const rows = signals.filter((_, index) => errors[index] === undefined)
  const values = [randomUUID(), ...COLUMNS.map(([, , read, write]) => literal(rows, read, write))]
  const ids =
    rows.length === 0
      ? []
      : (await pool.query({ name: "store", text: STATEMENT, values, rowMode: "array" })).rows.flat()
  let next = 0
  return errors.map((error, index) =>
    error === undefined
      ? { index, success: true, signal_id: Number(ids[next++]), error: null }
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
