/**
 * Prints the stored signals in the order in which they were stored. The next run goes on where this one
 * ended: it may print the last page again, and skips none.
 *
 *   node examples/follow-the-feed.ts
 */
import { readFileSync, writeFileSync } from "node:fs"
import { SignalClient } from "signal-ingest/client"

const CURSOR = process.env.CURSOR ?? "cursor"

const client = new SignalClient({
  url: process.env.SIGNAL_INGEST_URL ?? "http://localhost:8002",
  key: process.env.SIGNAL_INGEST_KEY,
})

for await (const { signals, next_cursor } of client.feed({ after: savedCursor() })) {
  for (const { id, context_window_id, raw_content } of signals)
    console.log(id, context_window_id, raw_content)
  // After the work, so that a stop in between repeats a page and skips none.
  writeFileSync(CURSOR, next_cursor)
}

function savedCursor(): string | undefined {
  try {
    return readFileSync(CURSOR, "utf8")
  } catch {
    return undefined
  }
}
