import { type SQL, sql } from "drizzle-orm"
import type { SubjectField } from "../../signals/lifecycle/erasure.ts"
import { DatabaseError } from "../errors.ts"
import { suppressions } from "../schema.ts"

/** The SQLSTATE by which a write says that rows are suppressed, which in DETAIL. */
const SUPPRESSED = "P0S0S"

/**
 * A condition of a write that is true, or ends the write when a row is of a suppressed subject; see `orSuppressed`.
 *
 * While nothing is suppressed it costs one look at an empty table, and as functions next to nothing to plan: Neon's proxy has each
 * statement planned anew. Every writer holds a lock on that table until it commits, by which an erasure knows the ones that did not see
 * its suppression (see `lifecycle/erase-steps.ts`).
 *
 * @param transactionIds the batch of each row of `input`, or one for all, as an array
 */
export const noneSuppressed = (transactionIds: SQL): SQL => sql`case when is_any_suppressed() then (
        select refuse_suppressed(
          array_agg(position), ${transactionIds}, array_agg(user_id), array_agg(agent_id), array_agg(context_window_id)
        ) from input
      ) else true end`

/** Whether a dead letter may be kept: none of those it is about is suppressed. */
export const LETTER_NOT_SUPPRESSED = sql`case when is_any_suppressed() then not exists (
      select from (
        values ('user_id', letter.user_id), ('agent_id', letter.agent_id), ('context_window_id', letter.context_window_id)
      ) as named (field, subject)
      join ${suppressions} on kind = field and subject_hash = subject_hash(field, subject)
      where subject is not null and (permanent or letter.transaction_id < erasure_id)
    ) else true end`

/** Nothing was inserted: the field by which each suppressed row is refused, by its place from 0. */
export interface Suppressed {
  suppressed: ReadonlyMap<number, SubjectField>
}

/** What a write did, or that it did nothing since rows are suppressed. */
export async function orSuppressed<T>(write: Promise<T>): Promise<T | Suppressed> {
  try {
    return await write
  } catch (error) {
    const suppressed = suppressedIn(error)
    if (suppressed) return { suppressed }
    throw error
  }
}

export const isSuppressed = (result: object | undefined): result is Suppressed => result !== undefined && "suppressed" in result

function suppressedIn(error: unknown): Map<number, SubjectField> | undefined {
  if (!(error instanceof DatabaseError) || error.reason !== SUPPRESSED) return undefined
  const rows = (error.detail ?? "").split(",").map((row): [number, SubjectField] => {
    const [position, field] = row.split(":")
    return [Number(position) - 1, field as SubjectField]
  })
  return new Map(rows)
}
