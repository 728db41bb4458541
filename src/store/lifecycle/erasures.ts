import { type SQL, sql } from "drizzle-orm"
import { uuidv7 } from "uuidv7"
import type { ErasureRecord } from "../../signals/erasure.ts"
import { type Database, utc, withRetries } from "../database/connection.ts"
import { IdempotencyKeyReused } from "../database/errors.ts"
import { type ERASURE_KINDS, erasures, suppressions } from "../database/schema.ts"

/** An erasure to start. */
export interface NewErasure {
  requestedBy: string
  target: ErasureTarget
  suppress: boolean
  idempotency: { key: string; requestHash: string } | undefined
}

export type ErasureTarget =
  | { kind: Exclude<(typeof ERASURE_KINDS)[number], "signal_ids">; subject: string }
  | { kind: "signal_ids"; signalIds: readonly number[] }

/**
 * Records an erasure and its suppression in one transaction. From then on no signal of the subject that was
 * accepted before is stored, and with `suppress` none at all.
 *
 * @returns the erasure; with `replayed`, that of an earlier request under the same key
 * @throws {IdempotencyKeyReused} the key was used for another request; nothing was recorded
 * @throws {DatabaseError} it may be recorded; a retry is safe
 */
export async function enterErasure(
  db: Database,
  erasure: NewErasure,
): Promise<{ record: ErasureRecord; replayed: boolean }> {
  const id = uuidv7()
  const { requestedBy, idempotency } = erasure
  const [held] = await withRetries(db, async () => {
    await db.query(entryStatement(id, erasure))
    return db.query<Row & { request_hash: string | null }>(sql`
      select ${RECORD}, request_hash from ${erasures}
      where id = ${id}::uuid or (requested_by = ${requestedBy} and idempotency_key = ${idempotency?.key ?? null})
      order by id = ${id}::uuid desc limit 1`)
  })
  if (!held) throw new Error("an erasure that was entered is gone")
  if (held.id !== id && held.request_hash !== idempotency?.requestHash) throw new IdempotencyKeyReused()
  return { record: recordOf(held), replayed: held.id !== id }
}

function entryStatement(id: string, { requestedBy, target, suppress, idempotency }: NewErasure): SQL {
  const isByIds = target.kind === "signal_ids"
  const ids = isByIds ? [...new Set(target.signalIds)].sort((a, b) => a - b) : null
  const subject = isByIds ? null : target.subject
  return sql`
    with entered as (
      insert into ${erasures} (
        id, requested_by, kind, subject_hash, suppress, subject, signal_ids, idempotency_key, request_hash
      )
      select
        ${id}::uuid, ${requestedBy}, ${target.kind}, subject_hash(${target.kind}, ${subject ?? ids?.join(",") ?? ""}),
        ${suppress}::bool, ${subject}, ${ids && sql.param(ids)}::int8[],
        ${idempotency?.key ?? null}, ${idempotency?.requestHash ?? null}
      on conflict do nothing
      returning *
    )
    insert into ${suppressions} (kind, subject_hash, erasure_id, permanent)
    select kind, subject_hash, id, suppress from entered where kind <> 'signal_ids'
    on conflict (kind, subject_hash) do update set
      erasure_id = greatest(suppressions.erasure_id, excluded.erasure_id),
      permanent = suppressions.permanent or excluded.permanent,
      created_at = now()`
}

type Row = Omit<ErasureRecord, "erased"> & {
  signal_count: string
  dead_letter_count: string
  ledger_count: string
  object_count: string
}

const RECORD = sql`
  id, case phase when 'done' then 'done' else 'running' end as state, ${utc(sql`created_at`)} as created_at,
  ${utc(sql`finished_at`)} as finished_at, requested_by, kind, replace(subject_hash::text, '-', '') as subject_hash, suppress,
  signal_count, dead_letter_count, ledger_count, object_count`

const recordOf = ({
  id,
  state,
  created_at,
  finished_at,
  requested_by,
  kind,
  subject_hash,
  suppress,
  ...counts
}: Row): ErasureRecord => ({
  ...{ id, state, created_at, finished_at, requested_by, kind, subject_hash, suppress },
  erased: {
    signals: Number(counts.signal_count),
    dead_letters: Number(counts.dead_letter_count),
    ledger_texts: Number(counts.ledger_count),
    waiting_records: Number(counts.object_count),
  },
})

export async function findErasure(db: Database, id: string): Promise<ErasureRecord | undefined> {
  const [row] = await withRetries(db, () =>
    db.query<Row>(sql`select ${RECORD} from ${erasures} where id = ${id}::uuid`),
  )
  return row && recordOf(row)
}

/** Reads a page of erasures, newest first, and the cursor of the next page, which is null on the last. */
export async function listErasures(
  db: Database,
  { after, limit }: { after?: string | undefined; limit: number },
): Promise<{ erasures: ErasureRecord[]; next: string | null }> {
  const older = after === undefined ? sql`` : sql`where id < ${after}::uuid`
  const rows = await withRetries(db, () =>
    db.query<Row>(sql`select ${RECORD} from ${erasures} ${older} order by id desc limit ${limit + 1}::int4`),
  )
  const page = rows.slice(0, limit).map(recordOf)
  return { erasures: page, next: rows.length > limit ? (page.at(-1)?.id ?? null) : null }
}

/** The erasures that are not done, oldest first, at most 100. */
export async function runningErasures(db: Database): Promise<string[]> {
  const rows = await withRetries(db, () =>
    db.query<{ id: string }>(sql`select id from ${erasures} where phase <> 'done' order by id limit 100`),
  )
  return rows.map(({ id }) => id)
}
