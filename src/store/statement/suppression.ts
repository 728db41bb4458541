import { type SQL, sql } from "drizzle-orm"
import type { SubjectField } from "../../signals/lifecycle/erasure.ts"
import { DatabaseError } from "../errors.ts"
import { suppressions } from "../schema.ts"

/** The SQLSTATE of a write with suppressed rows. DETAIL names the rows. */
const SUPPRESSED = "P0S0S"

/**
 * A condition of a write that is always true, or fails the write when a row is about a suppressed subject;
 * see `orSuppressed`.
 *
 * Without suppressions it only reads an empty table. It is a function, so that it takes almost no time to
 * plan: through Neon's proxy each statement is planned again. Every writer holds a lock on that table until
 * it commits, so that an erasure knows the writers that did not see its suppression (see
 * `lifecycle/erase-steps.ts`).
 *
 * @param transactionIds the batch of each row of `input`, or one for all, as an array
 */
export const noneSuppressed = (transactionIds: SQL): SQL => sql`case when is_any_suppressed() then (
        select refuse_suppressed(
          array_agg(position), ${transactionIds}, array_agg(user_id), array_agg(agent_id), array_agg(context_window_id)
        ) from input
      ) else true end`

/** Whether a dead letter may be kept: none of its subjects is suppressed. */
export const LETTER_NOT_SUPPRESSED = sql`case when is_any_suppressed() then not exists (
      select from (
        values ('user_id', letter.user_id), ('agent_id', letter.agent_id), ('context_window_id', letter.context_window_id)
      ) as named (field, subject)
      join ${suppressions} on kind = field and subject_hash = subject_hash(field, subject)
      where subject is not null and (permanent or letter.transaction_id < erasure_id)
    ) else true end`

/** Nothing was inserted. It has the suppressed field of each refused row, by the row's place from 0. */
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
