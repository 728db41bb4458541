-- For a batch in which the database refused a row: stores its rows in savepoints, and cuts a part that is refused into halves until the
-- refused rows are alone. Records the failures in the batch's ledger row. Returns no row when the ledger already has the batch, else one:
-- the id of each row as it was given, joined by commas ("=ID" for a duplicate of signal ID, "" for a refused row), and the failures as the
-- ledger has them.
-- p_changes: for each row NULL, 'deleted', or the time of its edit. p_replay_ids: where refused rows become dead letters, the batch under
-- which a replay stores each; otherwise NULL.
-- With p_all_or_nothing a failure undoes everything: SQLSTATE P0A0N, the failures in DETAIL.
-- Rows are stored in the order of their dedupe_keys, as the statement for a whole batch inserts them, so that two batches that share keys
-- take their locks in the same order and cannot deadlock. Ids are reserved before, in batch order.
CREATE OR REPLACE FUNCTION store_signals_by_halves(
  p_transaction_id uuid, p_caller text, p_idempotency_key text, p_request_hash text,
  p_total integer, p_failures jsonb, p_all_or_nothing boolean,
  p_indexes integer[], p_changes text[], p_replay_ids uuid[],
  p_context_window_id text[], p_time text[], p_raw_content text[], p_signal_source text[],
  p_signal_score text[], p_signal_vector text[], p_emotional_tone text[], p_escalate_flag text[],
  p_agent_id text[], p_user_id text[], p_payload text[],
  p_relationship_context text[], p_diagnostic_notes text[], p_dedupe_key text[]
) RETURNS TABLE (ids text, refusals jsonb) LANGUAGE plpgsql AS $$
DECLARE
  ordered integer[] := ARRAY(SELECT at FROM generate_subscripts(p_indexes, 1) AS at ORDER BY p_dedupe_key[at], at);
  reserved_ids bigint[] := ARRAY(SELECT nextval('signals_id_seq') FROM generate_subscripts(p_indexes, 1));
  last integer := cardinality(p_indexes);
  -- The parts that are left, each from a low to a high position in "ordered". All rows together were refused before.
  lows integer[] := CASE last WHEN 0 THEN '{}' WHEN 1 THEN ARRAY[1] ELSE ARRAY[1, (last + 1) / 2 + 1] END;
  highs integer[] := CASE last WHEN 0 THEN '{}' WHEN 1 THEN ARRAY[1] ELSE ARRAY[(last + 1) / 2, last] END;
  low integer;
  high integer;
  middle integer;
  part integer[];
  stored_positions integer[] := '{}';
  refused jsonb[] := '{}';
  refused_positions integer[] := '{}';
  broken_constraint text;
  outcome_ids text[];
BEGIN
  INSERT INTO batches (transaction_id, caller, state, total_count, failed_count, failures, idempotency_key, request_hash)
  VALUES (p_transaction_id, p_caller, 'stored', p_total, 0, '[]', p_idempotency_key, p_request_hash)
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN;
  END IF;

  WHILE cardinality(lows) > 0 LOOP
    low := lows[1];
    high := highs[1];
    lows := lows[2:];
    highs := highs[2:];
    BEGIN
      WITH input AS MATERIALIZED (
        SELECT at, reserved_ids[at] AS id, p_dedupe_key[at] AS dedupe_key FROM unnest(ordered[low:high]) AS at
      ), taken AS (
        INSERT INTO dedupe_keys (key_hash, signal_id)
        -- A deletion takes its key without a signal.
        SELECT dedupe_key_hash(dedupe_key), CASE WHEN p_changes[at] = 'deleted' THEN nextval('signals_id_seq') ELSE id END
        FROM input WHERE dedupe_key IS NOT NULL ORDER BY dedupe_key, at
        ON CONFLICT DO NOTHING
        RETURNING signal_id
      ), stored AS (
        INSERT INTO signals (
          id, transaction_id, context_window_id, time, raw_content, signal_source, signal_score, signal_vector, emotional_tone,
          escalate_flag, agent_id, user_id, payload, relationship_context, diagnostic_notes, dedupe_key
        ) OVERRIDING SYSTEM VALUE
        SELECT
          id, p_transaction_id, p_context_window_id[at], p_time[at]::timestamptz, p_raw_content[at], p_signal_source[at],
          p_signal_score[at]::float8, p_signal_vector[at], p_emotional_tone[at]::float8, p_escalate_flag[at]::int2,
          p_agent_id[at], p_user_id[at], p_payload[at]::jsonb, p_relationship_context[at], p_diagnostic_notes[at], dedupe_key
        FROM input WHERE dedupe_key IS NULL OR id IN (SELECT signal_id FROM taken)
        RETURNING id
      )
      SELECT coalesce(array_agg(at), '{}') INTO part FROM input JOIN stored USING (id);
      IF cardinality(p_changes) > 0 THEN
        PERFORM edit_signals_by_key(
          array_agg(p_dedupe_key[at]), array_agg(p_changes[at]::timestamptz), array_agg(p_raw_content[at]), array_agg(p_agent_id[at]),
          array_agg(p_user_id[at]), array_agg(p_payload[at])
        ) FROM unnest(ordered[low:high]) AS at WHERE p_changes[at] <> 'deleted';
        PERFORM delete_signals_by_key(array_agg(p_dedupe_key[at])) FROM unnest(ordered[low:high]) AS at WHERE p_changes[at] = 'deleted';
      END IF;
      stored_positions := stored_positions || part;
    EXCEPTION WHEN OTHERS THEN
      -- Errors of data, integrity, check options, program limits and triggers are the row's; all others are the database's. So is a
      -- missing partition, which Postgres reports as a check_violation of no constraint.
      GET STACKED DIAGNOSTICS broken_constraint = CONSTRAINT_NAME;
      IF left(SQLSTATE, 2) NOT IN ('22', '23', '44', '54', 'P0') OR (SQLSTATE = '23514' AND broken_constraint = '') THEN
        RAISE;
      END IF;
      IF low < high THEN
        middle := (low + high) / 2;
        lows := ARRAY[low, middle + 1] || lows;
        highs := ARRAY[middle, high] || highs;
      ELSE
        refused := refused || jsonb_build_object(
          'index', p_indexes[ordered[low]], 'error', format('refused by the database: %s (%s)', left(SQLERRM, 200), SQLSTATE),
          'code', 'refused_by_database', 'retryable', false);
        refused_positions := refused_positions || ordered[low];
      END IF;
    END;
  END LOOP;

  IF p_all_or_nothing AND cardinality(refused) > 0 THEN
    RAISE EXCEPTION USING ERRCODE = 'P0A0N', MESSAGE = 'all-or-nothing batch refused',
      DETAIL = (SELECT jsonb_agg(refusal ORDER BY (refusal ->> 'index')::integer) FROM unnest(refused) AS refusal)::text;
  END IF;
  IF p_replay_ids IS NOT NULL THEN
    -- The record is the signal as JSON; a payload and a number are JSON already. Its longest texts fit, unless many characters are escaped.
    INSERT INTO dead_letters (
      transaction_id, index, source, caller, reason, code, record, truncated, replay_transaction_id, subject_hashes
    )
    SELECT
      p_transaction_id, p_indexes[at], 'signal', p_caller,
      refusal ->> 'error' || CASE WHEN octet_length(record) > 2097152
        THEN '. The record is larger than 2 MiB: only its beginning is kept, so that it cannot be replayed.' ELSE '' END,
      'refused_by_database', CASE WHEN octet_length(record) > 2097152 THEN left(record, 524288) ELSE record END,
      octet_length(record) > 2097152, p_replay_ids[at], array_remove(ARRAY[
        subject_hash('user_id', p_user_id[at]), subject_hash('agent_id', p_agent_id[at]),
        subject_hash('context_window_id', p_context_window_id[at])
      ], NULL)
    FROM unnest(refused_positions, refused) AS kept (at, refusal)
    CROSS JOIN LATERAL (SELECT row_to_json(signal)::text AS record FROM (SELECT
      p_context_window_id[at] AS context_window_id, p_time[at] AS timestamp, p_raw_content[at] AS raw_content,
      p_signal_source[at] AS signal_source, p_signal_score[at]::json AS signal_score, p_signal_vector[at] AS signal_vector,
      p_emotional_tone[at]::json AS emotional_tone, p_escalate_flag[at]::json AS escalate_flag, p_agent_id[at] AS agent_id,
      p_user_id[at] AS user_id, nullif(p_payload[at], '')::json AS payload, p_relationship_context[at] AS relationship_context,
      p_diagnostic_notes[at] AS diagnostic_notes, p_dedupe_key[at] AS dedupe_key
    ) AS signal) AS sent
    ON CONFLICT DO NOTHING;
  END IF;

  outcome_ids := ARRAY(
    SELECT CASE
      WHEN at = ANY (refused_positions) THEN ''
      WHEN stored.position IS NOT NULL THEN reserved_ids[at]::text
      ELSE '=' || coalesce(signal_id::text, '')
    END
    FROM generate_subscripts(p_indexes, 1) AS at
    LEFT JOIN unnest(stored_positions) AS stored (position) ON stored.position = at
    LEFT JOIN dedupe_keys ON key_hash = dedupe_key_hash(p_dedupe_key[at])
    ORDER BY at
  );
  UPDATE batches SET
    failed_count = jsonb_array_length(p_failures || to_jsonb(refused)),
    failures = (
      SELECT coalesce(jsonb_agg(failure ORDER BY (failure ->> 'index')::integer), '[]')
      FROM jsonb_array_elements(p_failures || to_jsonb(refused)) AS failure
    ),
    first_signal_id = (SELECT min(reserved_ids[at]) FROM unnest(stored_positions) AS at),
    last_signal_id = (SELECT max(reserved_ids[at]) FROM unnest(stored_positions) AS at),
    -- Runs of consecutive ids, "first:count", and "0:count" for duplicates; refused rows are in failures.
    signal_ids = (
      SELECT coalesce(string_agg(format('%s:%s', first, size), ',' ORDER BY start), '') FROM (
        SELECT min(position) AS start, coalesce(min(id), 0) AS first, count(*) AS size FROM (
          SELECT id, position, row_number() OVER (PARTITION BY id IS NULL ORDER BY position) AS nth FROM (
            SELECT
              CASE WHEN outcome NOT LIKE '=%' THEN outcome::bigint END AS id,
              row_number() OVER (ORDER BY at) AS position
            FROM unnest(outcome_ids) WITH ORDINALITY AS tried (outcome, at) WHERE outcome <> ''
          ) AS kept
        ) AS numbered
        -- The positions of a run follow each other, and so do its ids.
        GROUP BY id IS NULL, position - nth, id - position
      ) AS run
    )
  WHERE transaction_id = p_transaction_id;
  RETURN QUERY SELECT array_to_string(outcome_ids, ','), to_jsonb(refused);
END
$$;

GRANT EXECUTE ON FUNCTION store_signals_by_halves TO signal_ingest_writer;
