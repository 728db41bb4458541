import { sql } from "drizzle-orm"
import { type Database, withRetries } from "../connection.ts"
import { dedupeKeys, suppressions } from "../schema.ts"

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
