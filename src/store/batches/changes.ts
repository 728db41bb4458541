import { type SQL, sql } from "drizzle-orm"
import { suppressedFailure } from "../../signals/erasure.ts"
import { failureAt } from "../../signals/failures.ts"
import type { Failure } from "../../signals/responses.ts"
import type { SignalRow } from "../../signals/schema.ts"
import { type Database, withRetries } from "../database/connection.ts"
import { DatabaseError } from "../database/errors.ts"
import { isSuppressed, noneSuppressed, orSuppressed } from "../lifecycle/suppression.ts"
import type { NewBatch } from "./batch.ts"

/*
 * Rows that change signals that arrived before, or will arrive later. A signal, its edits and its deletion
 * lead to the same state in any order and when they are repeated: a deletion always wins, and then the newest
 * edit.
 *
 * A deletion takes its key before the rows are written, so that its row becomes a duplicate without a signal.
 * An edit is written like any signal, since it can arrive first; when its key was taken, it then changes the
 * signal with the key.
 */

/** A row with the whole edited signal. */
type EditedRow = SignalRow & { dedupeKey: string; change: { kind: "edited"; at: string } }

/** An edit, and the batch that it came with. */
export interface Edit {
  transactionId: string
  row: EditedRow
}

export const editsOf = ({ transactionId, plan }: Pick<NewBatch, "transactionId" | "plan">): Edit[] =>
  plan.rows
    .filter((row): row is EditedRow => row.change?.kind === "edited" && row.dedupeKey !== null)
    .map((row) => ({ transactionId, row }))

/** The failure of a signal, and its batch. */
export interface FailedSignal {
  transactionId: string
  failure: Failure
}

/**
 * Deletes the signals whose deletion is in `rows`, and keeps their keys. Call it before the rows are written.
 * It is safe to repeat.
 *
 * @throws {DatabaseError}
 */
export async function deleteSignals(db: Database, rows: readonly SignalRow[]): Promise<void> {
  const deleted = rows.filter(({ change }) => change?.kind === "deleted").map(({ dedupeKey }) => dedupeKey)
  if (deleted.length === 0) return
  await withRetries(db, () => db.query(sql`select delete_signals_by_key(${sql.param(deleted)}::text[])`))
}

/**
 * Applies the edits of written rows, all or none, but for those of suppressed subjects: a suppression can
 * begin after their rows were written. It is safe to repeat.
 *
 * @returns the edits of suppressed subjects
 * @throws {DatabaseError} marked as one that may have run, since the rows are written
 */
export async function editTogether(db: Database, edits: readonly Edit[]): Promise<FailedSignal[]> {
  if (edits.length === 0) return []
  const edited = await orSuppressed(withRetries(db, () => db.query<object>(editStatement(edits)))).catch(
    (error) => {
      throw error instanceof DatabaseError ? error.withDoubt(true) : error
    },
  )
  if (!isSuppressed(edited)) return []
  const failed = edits.flatMap(({ transactionId, row }, place) => {
    const field = edited.suppressed.get(place)
    return field ? [{ transactionId, failure: suppressedFailure(row.index, field) }] : []
  })
  // Each attempt has fewer edits, so this ends.
  const others = edits.filter((_, place) => !edited.suppressed.has(place))
  return [...failed, ...(await editTogether(db, others))]
}

/**
 * One statement checks the suppressions and applies the edits, so that an erasure either is seen by it or
 * waits for it (see `lifecycle/suppression.ts`).
 */
function editStatement(edits: readonly Edit[]): SQL {
  const list = (value: (edit: Edit) => string | null) => sql.param(edits.map(value))
  return sql`
    with input as materialized (
      select * from unnest(
        ${list(({ row }) => row.dedupeKey)}::text[], ${list(({ row }) => row.change.at)}::timestamptz[], ${list(({ row }) => row.rawContent)}::text[],
        ${list(({ row }) => row.agentId)}::text[], ${list(({ row }) => row.userId)}::text[], ${list(({ row }) => row.payload || null)}::text[],
        ${list(({ row }) => row.contextWindowId)}::text[], ${list(({ transactionId }) => transactionId)}::uuid[]
      ) with ordinality as edit (
        dedupe_key, edited_at, raw_content, agent_id, user_id, payload, context_window_id, transaction_id, position
      )
    )
    select edit_signals_by_key(
      array_agg(dedupe_key), array_agg(edited_at), array_agg(raw_content), array_agg(agent_id), array_agg(user_id), array_agg(payload)
    )
    from input having ${noneSuppressed(sql`array_agg(transaction_id)`)}`
}

/**
 * The same, edit by edit where the database refuses one of them.
 *
 * @returns also those that it refuses
 * @throws {DatabaseError} marked as one that may have run, since the rows are written
 */
export async function editEach(db: Database, edits: readonly Edit[]): Promise<FailedSignal[]> {
  const isRefused = (error: unknown): error is DatabaseError =>
    error instanceof DatabaseError && error.kind === "refused"
  try {
    return await editTogether(db, edits)
  } catch (refused) {
    if (!isRefused(refused)) throw refused
  }
  const failed: FailedSignal[] = []
  for (const edit of edits) {
    const { transactionId, row } = edit
    const own = await editTogether(db, [edit]).catch((error) => {
      if (!isRefused(error)) throw error
      const message = `refused by the database: ${error.reason}`
      return [{ transactionId, failure: failureAt(row.index, { code: "refused_by_database", message }) }]
    })
    failed.push(...own)
  }
  return failed
}
