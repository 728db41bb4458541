import type { Client } from "pg"

/** A step holds the locks of its keys until it commits; this one takes some 50 ms. */
const STEP_ROWS = 10_000

/**
 * Enters the dedupe_keys of signals that former versions of the service stored, in steps that commit by themselves. The next call
 * continues after the last step, so that it may be ended at any time. The service writes meanwhile.
 */
export async function backfillDedupeKeys(client: Client): Promise<void> {
  for (;;) {
    const { rows } = await client.query<{ finished: boolean }>(STEP, [STEP_ROWS])
    if (rows[0]?.finished ?? true) return
  }
}

/** In the order in which writers take their keys, so that neither waits for the other in turn. */
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
