import { SignalClient } from "signal-ingest/client"

const client = new SignalClient({ url: process.env.SIGNAL_INGEST_URL ?? "http://localhost:8002" })

const answer = await client.createBatch([
  { context_window_id: "conv-123", raw_content: "Ready to sync", signal_source: "Slack", signal_score: 0.85 },
  { context_window_id: "conv-123", raw_content: "Let us go", signal_score: 1.5 },
])
console.log(`stored ${answer.successful_count} of ${answer.total_count}`)
for (const { index, error } of answer.results) if (error !== null) console.warn(index, error)
