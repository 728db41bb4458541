import { type SQL, sql } from "drizzle-orm"
import type { Failure } from "../../signals/responses.ts"
import { type Database, NOW } from "../database/connection.ts"
import { DatabaseError } from "../database/errors.ts"
import { noneSuppressed } from "../lifecycle/suppression.ts"
import { BatchRefused, type Inserted, type NewBatch } from "./batch.ts"
import { arrayOf, type Columns, textColumns } from "./statement.ts"

/**
 * Stores a batch in which the database refused a row, still in one transaction: a SQL function tries each row
 * in a savepoint, and records the failures. Undefined when the ledger already has the batch.
 */
export async function insertOneByOne(
  db: Database,
  batch: NewBatch,
  columns: Columns,
): Promise<Inserted | undefined> {
  const { rows, failures } = batch.plan
  try {
    const [written] = await db.query<{ ids: string; refusals: Failure[]; received_at: string }>(
      oneByOneStatement(batch, columns),
    )
    if (!written) return undefined
    const ids = written.ids.split(",")
    const refused = new Set(written.refusals.map(({ index }) => index))
    return {
      receivedAt: written.received_at,
      rows: rows
        .map(({ index, dedupeKey }, position) => ({
          index,
          dedupeKey,
          id: Number(ids[position]) || undefined,
        }))
        .filter(({ index }) => !refused.has(index)),
      failures: [...failures, ...written.refusals].sort((a, b) => a.index - b.index),
    }
  } catch (error) {
    if (error instanceof DatabaseError && error.reason === ALL_OR_NOTHING)
      throw new BatchRefused(JSON.parse(error.detail ?? "[]") as Failure[])
    throw error
  }
}

/** The SQLSTATE of the function after it rolled back an all-or-nothing batch. DETAIL has the failures. */
const ALL_OR_NOTHING = "P0A0N"

function oneByOneStatement(batch: NewBatch, columns: Columns): SQL {
  const { plan, idempotency } = batch
  const indexes = `{${plan.rows.map((row) => row.index).join(",")}}`
  const column = (field: "userId" | "agentId" | "contextWindowId") => arrayOf(columns[field], "text")
  return sql`
    with input as materialized (
      select * from unnest(${column("userId")}, ${column("agentId")}, ${column("contextWindowId")})
        with ordinality as signal (user_id, agent_id, context_window_id, position)
    )
    select ids, refusals, ${NOW} as received_at from store_signals_one_by_one(
      ${batch.transactionId}::uuid, ${batch.caller}, ${idempotency?.key ?? null}, ${idempotency?.requestHash ?? null},
      ${plan.total}::int4, ${JSON.stringify(plan.failures)}::jsonb, ${batch.allOrNothing}::bool, ${indexes}::int4[],
      ${textColumns(columns)}
    )
    -- Its failure undoes what the function wrote.
    where ${noneSuppressed(sql`array[${batch.transactionId}::uuid]`)}`
}
