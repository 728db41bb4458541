import { sql } from "drizzle-orm"
import { failureAt } from "../../signals/failures/violation.ts"
import type { Failure } from "../../signals/responses.ts"
import type { SignalRow } from "../../signals/schema.ts"
import { type Database, withRetries } from "../connection.ts"
import { DatabaseError } from "../errors.ts"

/*
 * Rows that change signals that arrived before, or will arrive later. A signal, its edits and its deletion lead to the same state in any order
 * and when they are repeated: a deletion always wins, and then the newest edit.
 *
 * A deletion takes its key before the rows are written, so that its row becomes a duplicate without a signal. An edit is written like any
 * signal, since it can arrive first; when its key was taken, it then changes the signal with the key.
 */

/** A row with the whole edited signal. */
export type EditedRow = SignalRow & { dedupeKey: string; change: { kind: "edited"; at: string } }

export const editedRows = (rows: readonly SignalRow[]): EditedRow[] =>
  rows.filter((row): row is EditedRow => row.change?.kind === "edited" && row.dedupeKey !== null)

/**
 * Deletes the signals whose deletion is in `rows`, and keeps their keys. Call it before the rows are written. It is safe to repeat.
 *
 * @throws {DatabaseError}
 */
export async function deleteSignals(db: Database, rows: readonly SignalRow[]): Promise<void> {
  const deleted = rows.filter(({ change }) => change?.kind === "deleted").map(({ dedupeKey }) => dedupeKey)
  if (deleted.length === 0) return
  await withRetries(db, () => db.query(sql`select delete_signals_by_key(${sql.param(deleted)}::text[])`))
}

/**
 * Applies the edits of written rows, all or none. It is safe to repeat.
 *
 * @throws {DatabaseError} marked as one that may have run, since the rows are written
 */
export async function editTogether(db: Database, rows: readonly EditedRow[]): Promise<void> {
  if (rows.length === 0) return
  const list = (value: (row: EditedRow) => string | null) => sql.param(rows.map(value))
  const statement = sql`
    select edit_signals_by_key(
      ${list((row) => row.dedupeKey)}::text[], ${list((row) => row.change.at)}::timestamptz[], ${list((row) => row.rawContent)}::text[],
      ${list((row) => row.agentId)}::text[], ${list((row) => row.userId)}::text[], ${list((row) => row.payload || null)}::text[]
    )`
  await withRetries(db, () => db.query(statement)).catch((error) => {
    throw error instanceof DatabaseError ? error.withDoubt(true) : error
  })
}

/**
 * The same, row by row where the database refuses one of them.
 *
 * @returns those that it refuses
 * @throws {DatabaseError} marked as one that may have run, since the rows are written
 */
export async function editEach(db: Database, rows: readonly EditedRow[]): Promise<Failure[]> {
  const isRefused = (error: unknown): error is DatabaseError => error instanceof DatabaseError && error.kind === "refused"
  const failures: Failure[] = []
  try {
    await editTogether(db, rows)
  } catch (refused) {
    if (!isRefused(refused)) throw refused
    for (const row of rows)
      await editTogether(db, [row]).catch((error) => {
        if (!isRefused(error)) throw error
        failures.push(failureAt(row.index, { code: "refused_by_database", message: `refused by the database: ${error.reason}` }))
      })
  }
  return failures
}
