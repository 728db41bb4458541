import { type SQL, sql } from "drizzle-orm"
import { uuidv7 } from "uuidv7"
import { recordedFailure } from "../../signals/failures.ts"
import type { Failure } from "../../signals/responses.ts"
import { type Database, NOW } from "../database/connection.ts"
import { DatabaseError } from "../database/errors.ts"
import { type DeadLetter, deadLetterInsert } from "../dead-letters/store.ts"
import { noneSuppressed } from "../lifecycle/suppression.ts"
import { BatchRefused, type Inserted, insertedOf, type NewBatch, type NewScores } from "./batch.ts"
import { changesOf, hasChanges } from "./changes.ts"
import { insertedScores, scoresIn } from "./scores.ts"
import { arrayOf, type Columns, textColumns } from "./statement.ts"

/** A batch whose refused rows are failures, or, with the dead letters of its delivery, dead letters too. */
export interface RefusedWrite {
  batch: NewBatch
  /** The dead letters of a delivery; undefined for a batch whose sender reads its failures. */
  deadLetters: readonly DeadLetter[] | undefined
  /** The scores of a delivery. */
  scores?: NewScores | undefined
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
  write: RefusedWrite,
  columns: Columns,
): Promise<Inserted | undefined> {
  try {
    const [written] = await db.query<Written>(statement(write, columns))
    if (!written) return undefined
    const { plan } = write.batch
    const { received_at, score_ids: ids = null, score_refusals: refusals } = written
    const scores =
      write.scores && refusals ? insertedScores(write.scores, { ids, refusals, received_at }) : undefined
    const failures = [...plan.failures, ...written.refusals.map(recordedFailure)].sort(
      (a, b) => a.index - b.index,
    )
    return { ...insertedOf(plan, received_at, written.ids), failures, scores }
  } catch (error) {
    if (error instanceof DatabaseError && error.reason === ALL_OR_NOTHING)
      throw new BatchRefused((JSON.parse(error.detail ?? "[]") as Failure[]).map(recordedFailure))
    throw error
  }
}

interface Written {
  ids: string
  refusals: Failure[]
  received_at: string
  /** Of the scores, where there are some. */
  score_ids?: string | null
  score_refusals?: Failure[] | null
}

/** The SQLSTATE of the function after it rolled back an all-or-nothing batch. DETAIL has the failures. */
const ALL_OR_NOTHING = "P0A0N"

function statement({ batch, deadLetters, scores }: RefusedWrite, columns: Columns): SQL {
  const { plan, idempotency, transactionId } = batch
  const indexes = `{${plan.rows.map((row) => row.index).join(",")}}`
  const changes = hasChanges(batch) ? changesOf(plan.rows) : []
  const replayIds = deadLetters && plan.rows.map(() => uuidv7())
  const column = (field: "userId" | "agentId" | "contextWindowId") => arrayOf(columns[field], "text")
  const kept = deadLetters?.length
    ? sql`, kept as (${deadLetterInsert(deadLetters, sql`cross join tried`)})`
    : sql``
  const after = sql`(select count(*) from tried) > 0`
  const scored = scores ? sql`, ${scoresIn([scores], { keepsFailed: true, after })}` : sql``
  const ofScores = scores ? sql`, scored.ids as score_ids, scored.refusals as score_refusals` : sql``
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
    )${kept}${scored}
    select tried.ids, tried.refusals, ${NOW} as received_at${ofScores}
    from tried ${scores ? sql`left join scored on true` : sql``}`
}
