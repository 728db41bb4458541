import { type SQL, sql } from "drizzle-orm"
import type { Failure } from "../../signals/responses.ts"
import type { SignalRow } from "../../signals/schema.ts"
import { type Database, withRetries } from "../database/connection.ts"
import { isSuppressed, noneSuppressed, orSuppressed } from "../lifecycle/suppression.ts"
import type { NewBatch } from "./batch.ts"

/*
 * Rows that change signals that arrived before, or will arrive later. A signal, its edits and its deletion
 * lead to the same state in any order and when they are repeated: a deletion always wins, and then the newest
 * edit.
 *
 * A deletion takes its key, so that its row becomes a duplicate without a signal, and deletes the signal that
 * held the key. An edit is written like any signal, since it can arrive first; then it changes the signal
 * with its key. Both happen in the statement that enters the batch in the ledger.
 */

/** A row with the whole edited signal. */
type EditedRow = SignalRow & { dedupeKey: string; change: { kind: "edited"; at: string } }

const isEdit = (row: SignalRow): row is EditedRow => row.change?.kind === "edited" && row.dedupeKey !== null
const isDeletion = (row: SignalRow): row is SignalRow & { dedupeKey: string } =>
  row.change?.kind === "deleted" && row.dedupeKey !== null

export const hasChanges = ({ plan }: Pick<NewBatch, "plan">): boolean =>
  plan.rows.some(({ change }) => change)

/** The positions of deletions among the rows, from 1. */
export const deletionsIn = (rows: readonly SignalRow[]): number[] =>
  rows.flatMap((row, index) => (isDeletion(row) ? [index + 1] : []))

/** The change of each row for the function that stores a batch by halves; see store-by-halves.sql. */
export const changesOf = (rows: readonly SignalRow[]): (string | null)[] =>
  rows.map((row) => (isEdit(row) ? row.change.at : isDeletion(row) ? "deleted" : null))

/** A change with the batch that it came with. */
interface Change<Row> {
  transactionId: string
  row: Row
}

function changesIn<Row extends SignalRow>(
  batches: readonly Pick<NewBatch, "transactionId" | "plan">[],
  isKind: (row: SignalRow) => row is Row,
): Change<Row>[] {
  return batches.flatMap(({ transactionId, plan }) =>
    plan.rows.filter(isKind).map((row) => ({ transactionId, row })),
  )
}

/**
 * The part of a write that applies the changes of batches after all their rows were tried: `changed` has no
 * row that a reader needs, but the statement must read it.
 *
 * @param entered a join or condition that leaves the changes of batches that this statement entered in the
 *   ledger, by `transaction_id`
 */
export function changedSignals(
  batches: readonly Pick<NewBatch, "transactionId" | "plan">[],
  entered: SQL,
): SQL {
  const edits = changesIn(batches, isEdit)
  const deletions = changesIn(batches, isDeletion)
  const list = (value: (edit: Change<EditedRow>) => string | null) => sql.param(edits.map(value))
  return sql`
    changed as materialized (
      select edit_signals_by_key(
        array_agg(dedupe_key), array_agg(edited_at), array_agg(raw_content), array_agg(agent_id), array_agg(user_id), array_agg(payload)
      ) as signals
      from unnest(
        ${list(({ row }) => row.dedupeKey)}::text[], ${list(({ row }) => row.change.at)}::timestamptz[], ${list(({ row }) => row.rawContent)}::text[],
        ${list(({ row }) => row.agentId)}::text[], ${list(({ row }) => row.userId)}::text[], ${list(({ row }) => row.payload || null)}::text[],
        ${list(({ transactionId }) => transactionId)}::uuid[]
      ) as edit (dedupe_key, edited_at, raw_content, agent_id, user_id, payload, transaction_id)
      ${entered}
      union all
      select delete_signals_by_key(array_agg(dedupe_key))
      from unnest(
        ${sql.param(deletions.map(({ row }) => row.dedupeKey))}::text[], ${sql.param(deletions.map(({ transactionId }) => transactionId))}::uuid[]
      ) as deletion (dedupe_key, transaction_id)
      ${entered}
    )`
}

/** The changes of the batches that `ledger` has, after `stored` has tried their rows. */
export const AFTER_ROWS = sql`join ledger using (transaction_id) where (select count(*) from stored) >= 0`

/**
 * Applies the changes of batches that the ledger already has, since the attempt that entered them can be one
 * of a version that applied them afterwards. Changes of subjects that were suppressed since are left out. It
 * is safe to repeat.
 *
 * @throws {DatabaseError} some or none of the changes are applied
 */
export async function repeatChanges(
  db: Database,
  batches: readonly Pick<NewBatch, "transactionId" | "plan">[],
): Promise<void> {
  const changed = batches.flatMap(({ transactionId, plan }) =>
    plan.rows.filter((row) => row.change).map((row) => ({ transactionId, row })),
  )
  if (changed.length === 0) return
  const column = (value: (row: SignalRow) => string | null) => sql.param(changed.map(({ row }) => value(row)))
  const statement = sql`
    with input as materialized (
      select * from unnest(
        ${column(({ userId }) => userId)}::text[], ${column(({ agentId }) => agentId)}::text[], ${column(({ contextWindowId }) => contextWindowId)}::text[],
        ${sql.param(changed.map(({ transactionId }) => transactionId))}::uuid[]
      ) with ordinality as change (user_id, agent_id, context_window_id, transaction_id, position)
    ), ${changedSignals(batches, sql`where (select ${noneSuppressed(sql`array_agg(input.transaction_id)`)})`)}
    select count(*) from changed`
  const result = await orSuppressed(withRetries(db, () => db.query<object>(statement)))
  if (!isSuppressed(result)) return
  // Each attempt has fewer changes, so this ends.
  const refused = new Set(changed.filter((_, index) => result.suppressed.has(index)).map(({ row }) => row))
  await repeatChanges(
    db,
    batches.map(({ transactionId, plan }) => ({
      transactionId,
      plan: { ...plan, rows: plan.rows.filter((row) => !refused.has(row)) },
    })),
  )
}

/** The batch without its rows that failed. */
export function withoutFailed<Batch extends NewBatch>(batch: Batch, failures: readonly Failure[]): Batch {
  const failed = new Set(failures.map(({ index }) => index))
  return {
    ...batch,
    plan: { ...batch.plan, rows: batch.plan.rows.filter(({ index }) => !failed.has(index)) },
  }
}
