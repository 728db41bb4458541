import { type SQL, sql } from "drizzle-orm"
import type { SubjectField } from "../../signals/erasure.ts"
import { type Database, withRetries } from "../database/connection.ts"
import { DatabaseError } from "../database/errors.ts"
import { dedupeKeys, suppressions } from "../database/schema.ts"

/** The SQLSTATE of a write with suppressed rows. DETAIL names the rows. */
const SUPPRESSED = "P0S0S"

/**
 * A condition of a write that is always true, or fails the write when a row is about a suppressed subject;
 * see `orSuppressed`.
 *
 * Without suppressions it only reads an empty table. It is a function, so that it takes almost no time to
 * plan: through Neon's proxy each statement is planned again. Every writer holds a lock on that table until
 * it commits, so that an erasure knows the writers that did not see its suppression (see
 * `erase.ts`).
 *
 * @param transactionIds the batch of each row of `input`, or one for all, as an array
 */
export const noneSuppressed = (transactionIds: SQL): SQL => sql`case when is_any_suppressed() then (
        select refuse_suppressed(
          array_agg(position), ${transactionIds}, array_agg(user_id), array_agg(agent_id), array_agg(context_window_id)
        ) from input
      ) else true end`

/**
 * Whether a dead letter may be kept: none of its subjects is suppressed. A whole message of the queue is
 * checked signal by signal (see `insertMessageDeadLetters`).
 */
export const DEAD_LETTER_NOT_SUPPRESSED = sql`case when is_any_suppressed() and source <> 'queue' then not exists (
      select from ${suppressions}
      where subject_hash = any(dead_letter.subject_hashes) and (permanent or dead_letter.transaction_id < erasure_id)
    ) else true end`

/** Nothing was inserted. It has the suppressed field of each refused row, by the row's index from 0. */
export interface Suppressed {
  suppressed: ReadonlyMap<number, SubjectField>
}

/** Returns the result of a write, or the suppressed rows because of which nothing was written. */
export async function orSuppressed<T>(write: Promise<T>): Promise<T | Suppressed> {
  try {
    return await write
  } catch (error) {
    const suppressed = suppressedIn(error)
    if (suppressed) return { suppressed }
    throw error
  }
}

export const isSuppressed = (result: object | undefined): result is Suppressed =>
  result !== undefined && "suppressed" in result

function suppressedIn(error: unknown): Map<number, SubjectField> | undefined {
  if (!(error instanceof DatabaseError) || error.reason !== SUPPRESSED) return undefined
  const rows = (error.detail ?? "").split(",").map((row): [number, SubjectField] => {
    const [position, field] = row.split(":")
    return [Number(position) - 1, field as SubjectField]
  })
  return new Map(rows)
}

/** The dedupe key of a row, and the subjects that decide whether an erasure takes it. */
export type KeyedRow = Record<"dedupeKey" | "userId" | "agentId" | "contextWindowId", string | null>

/**
 * Takes the free dedupe keys of rows that an erasure refuses or removes since they were accepted before it: a
 * retry of their sender, or a later edit that brings the whole text, then finds a key whose signal is gone. A
 * subject that stays suppressed needs no keys. Safe to repeat.
 *
 * @param transactionId of the batch of the rows
 * @throws {DatabaseError}
 */
export async function keepErasedKeys(
  db: Database,
  transactionId: string,
  rows: readonly KeyedRow[],
): Promise<void> {
  const keyed = rows.filter(({ dedupeKey }) => dedupeKey !== null)
  if (keyed.length === 0) return
  const list = (field: keyof KeyedRow) => sql.param(keyed.map((row) => row[field]))
  // In the order of the keys, as every write takes them.
  const statement = sql`
    insert into ${dedupeKeys} (key_hash, signal_id)
    select dedupe_key_hash(dedupe_key), nextval('signals_id_seq')
    from (
      select distinct dedupe_key
      from unnest(${list("dedupeKey")}::text[], ${list("userId")}::text[], ${list("agentId")}::text[], ${list("contextWindowId")}::text[])
        as refused (dedupe_key, user_id, agent_id, context_window_id)
      where exists (
        select from (values ('user_id', user_id), ('agent_id', agent_id), ('context_window_id', context_window_id)) as named (field, subject)
        join ${suppressions} on kind = field and subject_hash = subject_hash(field, subject)
        where subject is not null and not permanent and ${transactionId}::uuid < erasure_id
      )
      order by dedupe_key
    ) as erased
    on conflict do nothing`
  await withRetries(db, () => db.query(statement))
}
