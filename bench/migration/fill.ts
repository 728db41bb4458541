import type pg from "pg"

const STEP = 500_000

/**
 * Fills the tables as a version without `dedupe_keys` did: batches of 500 signals, of which three in ten have
 * a key. The indexes are built afterwards, which takes a tenth of the time.
 */
export async function fill(client: pg.Client, rows: number): Promise<void> {
  const { rows: indexes } = await client.query<{ name: string; definition: string }>(
    "select indexname as name, indexdef as definition from pg_indexes where tablename = 'signals' and indexname <> 'signals_pkey'",
  )
  for (const { name } of indexes) await client.query(`drop index ${name}`)
  await client.query("set synchronous_commit = off")
  await client.query("set maintenance_work_mem = '1GB'")
  for (let from = 1; from <= rows; from += STEP) {
    const to = Math.min(rows, from + STEP - 1)
    await client.query(SIGNALS, [from, to])
    await client.query(LEDGER, [from, to])
    console.log(`${to.toLocaleString("en")} rows`)
  }
  for (const { definition } of indexes) await client.query(definition)
  await client.query("reset synchronous_commit")
  await client.query("analyze signals")
  await client.query("checkpoint")
}

const TRANSACTION = "('0190a1b2-0000-7000-8000-' || lpad(((n - 1) / 500)::text, 12, '0'))::uuid"

const SIGNALS = `
  insert into signals (
    time, transaction_id, signal_score, escalate_flag, context_window_id, signal_source, raw_content, user_id, payload, dedupe_key
  )
  select
    timestamptz '2026-01-01' + n * interval '1 second' - (case when n % 20 = 0 then hashint8(n) & 8388607 else 0 end) * interval '1 second',
    ${TRANSACTION}, 0.5, 0, 'conv-' || (hashint8(n) & 131071), (array['Slack', 'Neo', 'Axis'])[1 + n % 3],
    repeat('words of a message ', 8) || n, 'U' || n % 5000,
    jsonb_build_object('channel', 'C' || n % 100, 'ts', n, 'subtype', 'plain', 'team', 'T1'),
    case when n % 10 < 3 then 'slack:T1/C' || n % 100 || '/' || n end
  from generate_series($1::int8, $2::int8) as n`

const LEDGER = `
  insert into batches (
    transaction_id, caller, state, total_count, failed_count, failures, first_signal_id, last_signal_id, signal_ids
  )
  select transaction_id, 'filled', 'stored', count(*), 0, '[]', min(id), max(id), min(id) || ':' || count(*)
  from signals where id between $1 and $2 group by transaction_id`
