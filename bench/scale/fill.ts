import type pg from "pg"

/** A few conversations have most of the signals, as in real data. */
export const CONVERSATIONS = 200_000
export const USERS = 50_000
const STEP = 250_000
const SIGNALS_A_BATCH = 500

/**
 * Fills the tables by SQL with `rows` signals of the past year, their dedupe_keys and their ledger rows. Of
 * every 100 signals 85 arrive in order of time, 10 up to three days late, and 5 have a random time of the
 * year; 30 have a dedupe_key.
 *
 * Data of the API differs: there the secondary indexes grow with the rows, so they are less dense, and ids
 * have gaps. The last partition is half full at the end.
 */
export async function fill(client: pg.Client, rows: number, stopped: AbortSignal): Promise<void> {
  await client.query("truncate signals, dedupe_keys, batches restart identity")
  if (rows === 0) return
  const { rows: found } = await client.query<{ size: string }>("select signal_partition_rows() as size")
  const size = Number(found[0]?.size)
  const first = (((size / 2 - rows) % size) + size) % size
  await client.query(`alter sequence signals_id_seq restart with ${first + 1}`)
  const rebuild = await dropIndexes(client)
  await client.query("set synchronous_commit = off")
  for (let done = 0; done < rows; done += STEP) {
    stopped.throwIfAborted()
    const count = Math.min(STEP, rows - done)
    await client.query("select make_signal_partitions($1::int8)", [count])
    await client.query(SIGNALS, [done, count, rows])
  }
  await client.query(LEDGER)
  await client.query(KEYS)
  for (const index of rebuild) {
    stopped.throwIfAborted()
    await client.query(index)
  }
  await client.query("reset synchronous_commit")
  await client.query("vacuum analyze")
  await client.query("checkpoint")
}

/** @returns the statements that rebuild the indexes */
async function dropIndexes(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ name: string; definition: string }>(
    `select relname as name, pg_get_indexdef(indexrelid) as definition
     from pg_index join pg_class on pg_class.oid = indexrelid where indrelid = 'signals'::regclass and not indisunique`,
  )
  for (const { name } of rows) await client.query(`drop index ${name}`)
  return rows.map(({ definition }) => definition.replace(" ON ONLY ", " ON "))
}

const SIGNALS = `
  insert into signals (time, received_at, transaction_id, context_window_id, signal_source, signal_score, emotional_tone, escalate_flag,
    raw_content, agent_id, user_id, payload, dedupe_key)
  select
    case when late < 0.85 then arrived when late < 0.95 then arrived - random() * interval '3 days' else now() - random() * interval '1 year' end,
    arrived,
    (lpad(to_hex((extract(epoch from batch_arrived) * 1000)::bigint), 12, '0') || '7' || substr(md5(batch::text), 1, 3)
      || '8' || substr(md5(batch::text), 4, 15))::uuid,
    'conv-' || conversation,
    case when conversation = 0 then 'slack' when late < 0.0001 then 'rare'
      else (array['slack', 'kafka', 'api', 'webhook', 'manual'])[1 + n % 5] end,
    round(random()::numeric, 3)::float8, case when n % 2 = 0 then round(random()::numeric, 3)::float8 end,
    case when n % 50 = 0 then 1 else 0 end,
    substr(repeat('the queue latency is above budget again, please review ', 4), 1, 20 + n % 160),
    'agent-' || floor(random() * 20)::int4,
    case when random() < 0.5 then 'user-' || floor(random() * ${USERS})::int4 end,
    case when n % 5 > 0 then jsonb_build_object('channel', 'C' || n, 'thread', n::int8 * 7919, 'tags', jsonb_build_array('deploy', 'queue'), 'edited', false) end,
    case when n % 10 < 3 then 'filled-' || n end
  from (
    select n, random() as late, floor(${CONVERSATIONS} * power(random(), 3))::int4 as conversation, n / ${SIGNALS_A_BATCH} as batch,
      now() - interval '1 year' * (1 - n::float8 / $3::int4) as arrived,
      now() - interval '1 year' * (1 - (n - n % ${SIGNALS_A_BATCH})::float8 / $3::int4) as batch_arrived
    from generate_series($1::int4, $1::int4 + $2::int4 - 1) as n
  ) as signal
  order by n`

/** Leaves out the few signals of a batch that two steps share, which do not matter here. */
const LEDGER = `
  insert into batches (transaction_id, created_at, caller, state, total_count, failed_count, failures, first_signal_id, last_signal_id, signal_ids)
  select transaction_id, min(received_at), 'bench', 'stored', count(*), 0, '[]', min(id), max(id), min(id) || ':' || count(*)
  from signals group by transaction_id order by min(id)
  on conflict do nothing`

const KEYS = `
  insert into dedupe_keys (key_hash, signal_id)
  select dedupe_key_hash(dedupe_key), id from signals where dedupe_key is not null order by 1`
