/**
 * Reads JSON lines from standard input and sends them in batches. A signal that `add` has accepted is kept in
 * a folder until the service has stored it. After an outage, a crash or `kill -9`, the next run sends it, and
 * the service stores it once.
 *
 *   your-program | node examples/send-without-loss.ts
 */
import { createInterface } from "node:readline"
import { BatchProcessor, SignalClient } from "signal-ingest/client"
import { openSpool } from "signal-ingest/client/spool"

const client = new SignalClient({
  url: process.env.SIGNAL_INGEST_URL ?? "http://localhost:8002",
  key: process.env.SIGNAL_INGEST_KEY,
})

await using processor = new BatchProcessor(client, {
  spool: await openSpool(process.env.SPOOL ?? "spool"),
  onFailure: ({ signal, error }) => console.error(error, JSON.stringify(signal)),
})

// `add` waits while the spool is full, so the reader of the lines waits too.
for await (const line of createInterface({ input: process.stdin }))
  if (line.trim() !== "") await processor.add(JSON.parse(line))
