import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import type { Client } from "pg"
import { copyFrom } from "../../../bench/copy.ts"
import { expectedLines } from "./messages.ts"
import type { Stand } from "./stand.ts"

const STORED = `select context_window_id, time, raw_content, signal_source, signal_score, emotional_tone,
  escalate_flag::int4, user_id, dedupe_key, payload from signals`
const SENT = `select line->>'context_window_id', (line->>'timestamp')::timestamptz, line->>'raw_content',
  coalesce(line->>'signal_source', 'unknown'), (line->>'signal_score')::float8,
  (line->>'emotional_tone')::float8, 0, line->>'user_id', line->>'dedupe_key', line->'payload' from expected`

/**
 * Compares the table with the messages, all columns, both ways.
 *
 * @returns the rows that only the table or only the messages have
 */
export async function compare(stand: Stand, messages: number): Promise<number> {
  const client = await stand.connect()
  try {
    await client.query("create table expected (line jsonb)")
    await pipeline(Readable.from(expectedLines(messages)), client.query(copyFrom("copy expected from stdin")))
    const only = await countOf(client, `(${STORED}) except all (${SENT})`)
    const missing = await countOf(client, `(${SENT}) except all (${STORED})`)
    const rows = await countOf(client, "select from signals")
    console.log(`${rows} rows; except all: ${only} only in the table, ${missing} only in the messages`)
    return only + missing + Math.abs(rows - messages)
  } finally {
    await client.end()
  }
}

async function countOf(client: Client, query: string): Promise<number> {
  const { rows } = await client.query<{ count: string }>(`select count(*) from (${query}) as found`)
  return Number(rows[0]?.count)
}
