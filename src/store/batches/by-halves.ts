import { type SQL, sql } from "drizzle-orm"
import { uuidv7 } from "uuidv7"
import { recordedFailure } from "../../signals/failures.ts"
import type { Failure } from "../../signals/responses.ts"
import { type Database, NOW } from "../database/connection.ts"
import { DatabaseError } from "../database/errors.ts"
import { type DeadLetter, deadLetterInsert } from "../dead-letters/store.ts"
import { noneSuppressed } from "../lifecycle/suppression.ts"
import { BatchRefused, type Inserted, insertedOf, type NewBatch } from "./batch.ts"
import { changesOf, hasChanges } from "./changes.ts"
import { arrayOf, type Columns, textColumns } from "./statement.ts"

/** A batch whose refused rows are failures, or, with the dead letters of its delivery, dead letters too. */
export interface RefusedWrite {
  batch: NewBatch
  /** The dead letters of a delivery; undefined for a batch whose sender reads its failures. */
  deadLetters: readonly DeadLetter[] | undefined
}

/**
 * Stores a batch in which the database refused a row, still in one transaction: a SQL function cuts the rows
 * into halves until the refused ones are alone, and records the failures and the dead letters.
 *
 * @returns undefined when the ledger already has the batch
 * @throws {BatchRefused} `allOrNothing`, and the database refused a signal: nothing was stored
 * @throws {DatabaseError} nothing was stored, unless it may have run
 */
export async function insertByHalves(
  db: Database,
  { batch, deadLetters }: RefusedWrite,
  columns: Columns,
): Promise<Inserted | undefined> {
  try {
    const [written] = await db.query<{ ids: string; refusals: Failure[]; received_at: string }>(
      statement({ batch, deadLetters }, columns),
    )
    if (!written) return undefined
    const { plan } = batch
    const failures = [...plan.failures, ...written.refusals.map(recordedFailure)].sort(
      (a, b) => a.index - b.index,
    )
    return { ...insertedOf(plan, written.received_at, written.ids), failures }
  } catch (error) {
    if (error instanceof DatabaseError && error.reason === ALL_OR_NOTHING)
      throw new BatchRefused((JSON.parse(error.detail ?? "[]") as Failure[]).map(recordedFailure))
    throw error
  }
}

/** The SQLSTATE of the function after it rolled back an all-or-nothing batch. DETAIL has the failures. */
const ALL_OR_NOTHING = "P0A0N"

function statement({ batch, deadLetters }: RefusedWrite, columns: Columns): SQL {
  const { plan, idempotency, transactionId } = batch
  const indexes = `{${plan.rows.map((row) => row.index).join(",")}}`
  const changes = hasChanges(batch) ? changesOf(plan.rows) : []
  const replayIds = deadLetters && plan.rows.map(() => uuidv7())
  const column = (field: "userId" | "agentId" | "contextWindowId") => arrayOf(columns[field], "text")
  const kept = deadLetters?.length
    ? sql`, kept as (${deadLetterInsert(deadLetters, sql`cross join tried`)})`
    : sql``
  return sql`
    with input as materialized (
      select * from unnest(${column("userId")}, ${column("agentId")}, ${column("contextWindowId")})
        with ordinality as signal (user_id, agent_id, context_window_id, position)
    ), tried as materialized (
      select ids, refusals from store_signals_by_halves(
        ${transactionId}::uuid, ${batch.caller}, ${idempotency?.key ?? null}, ${idempotency?.requestHash ?? null},
        ${plan.total}::int4, ${JSON.stringify(plan.failures)}::jsonb, ${batch.allOrNothing}::bool,
        ${indexes}::int4[], ${sql.param(changes)}::text[], ${replayIds ? sql.param(replayIds) : null}::uuid[],
        ${textColumns(columns)}
      )
      -- Its failure undoes what the function wrote.
      where ${noneSuppressed(sql`array[${transactionId}::uuid]`)}
    )${kept}
    select ids, refusals, ${NOW} as received_at from tried`
}
