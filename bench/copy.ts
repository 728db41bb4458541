import { createRequire } from "node:module"
import { Readable, type Writable } from "node:stream"
import { pipeline } from "node:stream/promises"
import type { Submittable } from "pg"
import type { Signal } from "../src/signals/schema.ts"
import { clientOf, closeClients, openClients } from "./harness/database.ts"
import { makeBatches, makeRows } from "./harness/signals.ts"
import type { Stack } from "./harness/stack.ts"
import { inTurns, type Subject } from "./harness/subject.ts"

/** pg-copy-streams has no types of its own. */
export const { from: copyFrom } = createRequire(import.meta.url)("pg-copy-streams") as {
  from(text: string): Writable & Submittable
}

/** COPY of the same rows into the same table: the upper bound of Postgres. */
export async function copy(stack: Stack, size: number, callers: number): Promise<Subject> {
  const clients = await openClients(stack.postgres.url, callers)
  const next = inTurns(makeBatches(size).map(copyText))
  return {
    async send(caller) {
      await pipeline(
        Readable.from([next()]),
        clientOf(clients, caller).query(copyFrom(`copy signals (${COPY_COLUMNS}) from stdin`)),
      )
    },
    close: () => closeClients(clients),
  }
}

export const COPY_COLUMNS =
  "transaction_id, context_window_id, time, raw_content, signal_source, signal_score, emotional_tone, escalate_flag, agent_id, user_id, payload"

/** @see https://www.postgresql.org/docs/18/sql-copy.html#SQL-COPY-FILE-FORMATS */
export function copyText(signals: readonly Signal[]): Buffer {
  const field = (value: string | number | null) =>
    value === null
      ? "\\N"
      : String(value).replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\t", "\\t")
  const transactionId = crypto.randomUUID()
  const lines = makeRows(signals).map((row) =>
    [
      transactionId,
      row.contextWindowId,
      row.time,
      row.rawContent,
      row.signalSource,
      row.signalScore,
      row.emotionalTone,
      row.escalateFlag,
      row.agentId,
      row.userId,
      row.payload || null,
    ]
      .map(field)
      .join("\t"),
  )
  return Buffer.from(`${lines.join("\n")}\n`)
}
