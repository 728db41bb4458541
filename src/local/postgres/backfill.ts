import type { Client } from "pg"

/** A step locks its keys until it commits. A step of this size takes about 50 ms. */
const STEP_ROWS = 10_000

/**
 * Copies the dedupe_keys of signals that former versions of the service stored, in steps that commit one by
 * one while the service writes. It can be stopped at any time: the next call continues after the last step.
 */
export async function backfillDedupeKeys(client: Client): Promise<void> {
  for (;;) {
    const { rows } = await client.query<{ finished: boolean }>(STEP, [STEP_ROWS])
    if (rows[0]?.finished ?? true) return
  }
}

/** Locks keys in the same order as writers do, so that there is no deadlock. */
const STEP = `
  with progress as (
    select last_id from backfills where name = 'dedupe_keys' and finished_at is null
  ), step as materialized (
    select id, dedupe_key from signals where id > (select last_id from progress) order by id limit $1::int4
  ), entered as (
    insert into dedupe_keys (key_hash, signal_id)
    select dedupe_key_hash(dedupe_key), id from step where dedupe_key is not null order by dedupe_key
    on conflict do nothing
  )
  update backfills set
    last_id = coalesce((select max(id) from step), last_id),
    finished_at = case when (select count(*) from step) < $1::int4 then now() end
  where name = 'dedupe_keys' and finished_at is null
  returning finished_at is not null as finished`
