import type { Recorder } from "./record.ts"
import { signalHash } from "./record.ts"

/** Runs one statement. */
type Query = <Row>(text: string, values?: unknown[]) => Promise<Row[]>

const PAGE = 20_000

/**
 * Appends the tables to a history, and its end, when no request and no work is under way. Reads in pages, so
 * that the tables can be larger than the memory.
 */
export async function recordTables(history: Recorder, query: Query): Promise<void> {
  const rows = await recordRows(history, query)
  const entered = await recordLedger(history, query)
  const dead = await query<{ transaction: string; record: string }>(
    "select transaction_id as transaction, record from dead_letters",
  )
  for (const { transaction, record } of dead)
    history.write({ type: "dead letter", transaction, hashes: hashesIn(record) })
  const erased = await query<{ id: string; phase: string }>("select id, phase from erasures")
  for (const { id, phase } of erased)
    history.write({ type: "erased", id, state: phase === "done" ? "done" : "running" })
  history.write({ type: "end", rows, entered })
}

async function recordRows(history: Recorder, query: Query): Promise<number> {
  let [count, after] = [0, "0"]
  for (;;) {
    const page = await query<{
      id: string
      context_window_id: string
      raw_content: string | null
      user_id: string | null
      dedupe_key: string | null
      transaction_id: string
    }>(
      `select id::text, context_window_id, raw_content, user_id, dedupe_key, transaction_id::text
       from signals where id > $1 order by signals.id limit ${PAGE}`,
      [after],
    )
    for (const row of page)
      history.write({
        type: "row",
        id: Number(row.id),
        hash: signalHash(row),
        conversation: row.context_window_id,
        ...(row.user_id !== null && { user: row.user_id }),
        ...(row.dedupe_key !== null && { dedupeKey: row.dedupe_key }),
        transaction: row.transaction_id,
      })
    count += page.length
    after = page.at(-1)?.id ?? after
    if (page.length < PAGE) return count
  }
}

async function recordLedger(history: Recorder, query: Query): Promise<number> {
  let [count, after] = [0, "00000000-0000-0000-0000-000000000000"]
  for (;;) {
    const page = await query<{
      transaction: string
      state: string
      kind: string
      successful: number
      failed: number
      key: string | null
    }>(
      `select transaction_id::text as transaction, state, kind, total_count - failed_count as successful,
         failed_count as failed, caller || ' ' || idempotency_key as key
       from batches where transaction_id > $1 order by transaction_id limit ${PAGE}`,
      [after],
    )
    for (const { key, kind, ...row } of page)
      history.write({
        type: "entered",
        ...row,
        ...(kind !== "signals" && { kind }),
        ...(key !== null && { key }),
      })
    count += page.length
    after = page.at(-1)?.transaction ?? after
    if (page.length < PAGE) return count
  }
}

/** The hashes of all objects in a dead letter's record that may be the signal. */
function hashesIn(record: string): string[] {
  const hashes: string[] = []
  const visit = (value: unknown, key: unknown): void => {
    if (typeof value !== "object" || value === null) return
    if (Array.isArray(value)) {
      for (const one of value) visit(one, undefined)
      return
    }
    const fields = value as Record<string, unknown>
    const raw_content = fields.raw_content ?? fields.text
    const context_window_id = fields.context_window_id ?? key
    if (raw_content !== undefined || context_window_id !== undefined)
      hashes.push(signalHash({ ...fields, context_window_id, raw_content }))
    for (const one of Object.values(fields)) visit(typeof one === "string" ? embedded(one) : one, fields.key)
  }
  visit(embedded(record), undefined)
  return hashes
}

/** The JSON that a text may be. */
function embedded(text: string): unknown {
  if (!/^\s*[[{]/.test(text)) return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
