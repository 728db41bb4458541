import createClient from "openapi-fetch"
import type { components, paths } from "./api.d.ts"

/** Sends a batch and reads it back, with the types that openapi-typescript makes of the description. */

const api = createClient<paths>({ baseUrl: process.argv[2] ?? "" })
const conversation = crypto.randomUUID()
const sentAt = "2025-01-15T09:30:00.123456Z"

const signal: components["schemas"]["Signal"] = {
  context_window_id: conversation,
  timestamp: sentAt,
  raw_content: "first",
  signal_score: 0.85,
  escalate_flag: 1,
  payload: { channel: "general" },
}
const { data: stored, error } = await api.POST("/api/signals/batch", {
  params: { header: { "Idempotency-Key": conversation }, query: { fail_on_error: false } },
  body: { signals: [signal, { context_window_id: conversation, signal_score: 2 }] },
})
if (!stored || !("results" in stored)) throw new Error(JSON.stringify(error))

const { data: page } = await api.GET("/api/signals", {
  params: { query: { context_window_id: conversation, since: "2025-01-15T00:00:00Z", limit: 1 } },
})
const { data: batch } = await api.GET("/api/batches/{transaction_id}", {
  params: { path: { transaction_id: stored.transaction_id ?? "" } },
})
const { data: one } = await api.GET("/api/signals/{id}", {
  params: { path: { id: stored.results[0]?.signal_id ?? 0 } },
})

console.log(
  JSON.stringify({
    successful: stored.successful_count,
    failed: stored.results[1]?.error,
    listed: page?.signals.map(({ time }) => time),
    state: batch?.state,
    content: one?.raw_content,
  }),
)
