-- For a batch in which the database refused a row: tries each row in a savepoint of its own, and records the failures in the batch's
-- ledger row. Returns no row when the ledger already has the batch, else one: the id of each row as it was given, joined by commas ("" for
-- a refused row and for a duplicate), and the failures as the ledger has them.
-- With p_all_or_nothing a failure undoes everything: SQLSTATE P0A0N, the failures in DETAIL.
-- Rows are tried in the order of their dedupe_keys, as the statement for a whole batch inserts them, so that two batches that share keys
-- take their locks in the same order and cannot deadlock. Ids are reserved before, in batch order.
CREATE OR REPLACE FUNCTION store_signals_one_by_one(
  p_transaction_id uuid, p_caller text, p_idempotency_key text, p_request_hash text,
  p_total integer, p_failures jsonb, p_all_or_nothing boolean, p_indexes integer[],
  p_context_window_id text[], p_time text[], p_raw_content text[], p_signal_source text[],
  p_signal_score text[], p_signal_vector text[], p_emotional_tone text[], p_escalate_flag text[],
  p_agent_id text[], p_user_id text[], p_payload text[],
  p_relationship_context text[], p_diagnostic_notes text[], p_dedupe_key text[]
) RETURNS TABLE (ids text, refusals jsonb) LANGUAGE plpgsql AS $$
DECLARE
  reserved_ids bigint[] := ARRAY(SELECT nextval('signals_id_seq') FROM generate_subscripts(p_indexes, 1));
  stored_ids bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(p_indexes)]);
  refused jsonb[] := '{}';
  refused_positions integer[] := '{}';
  broken_constraint text;
  i integer;
BEGIN
  INSERT INTO batches (transaction_id, caller, state, total_count, failed_count, failures, idempotency_key, request_hash)
  VALUES (p_transaction_id, p_caller, 'stored', p_total, 0, '[]', p_idempotency_key, p_request_hash)
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN;
  END IF;

  FOR i IN SELECT at FROM generate_subscripts(p_indexes, 1) AS at ORDER BY p_dedupe_key[at], at LOOP
    BEGIN
      IF p_dedupe_key[i] IS NOT NULL THEN
        INSERT INTO dedupe_keys (key_hash, signal_id) VALUES (dedupe_key_hash(p_dedupe_key[i]), reserved_ids[i])
        ON CONFLICT DO NOTHING;
        CONTINUE WHEN NOT FOUND;
      END IF;
      INSERT INTO signals (
        id, transaction_id, context_window_id, time, raw_content, signal_source, signal_score, signal_vector, emotional_tone,
        escalate_flag, agent_id, user_id, payload, relationship_context, diagnostic_notes, dedupe_key
      ) OVERRIDING SYSTEM VALUE VALUES (
        reserved_ids[i], p_transaction_id, p_context_window_id[i], p_time[i]::timestamptz, p_raw_content[i], p_signal_source[i],
        p_signal_score[i]::float8, p_signal_vector[i], p_emotional_tone[i]::float8, p_escalate_flag[i]::int2,
        p_agent_id[i], p_user_id[i], p_payload[i]::jsonb, p_relationship_context[i], p_diagnostic_notes[i], p_dedupe_key[i]
      );
      stored_ids[i] := reserved_ids[i];
    EXCEPTION WHEN OTHERS THEN
      -- Errors of data, integrity, check options, program limits and triggers are the row's; all others are the database's. So is a
      -- missing partition, which Postgres reports as a check_violation of no constraint.
      GET STACKED DIAGNOSTICS broken_constraint = CONSTRAINT_NAME;
      IF left(SQLSTATE, 2) NOT IN ('22', '23', '44', '54', 'P0') OR (SQLSTATE = '23514' AND broken_constraint = '') THEN
        RAISE;
      END IF;
      refused := refused || jsonb_build_object(
        'index', p_indexes[i], 'error', format('refused by the database: %s (%s)', left(SQLERRM, 200), SQLSTATE),
        'code', 'refused_by_database', 'retryable', false);
      refused_positions := refused_positions || i;
    END;
  END LOOP;
  refused := ARRAY(SELECT refusal FROM unnest(refused) AS refusal ORDER BY (refusal ->> 'index')::integer);

  IF p_all_or_nothing AND cardinality(refused) > 0 THEN
    RAISE EXCEPTION USING ERRCODE = 'P0A0N', MESSAGE = 'all-or-nothing batch refused', DETAIL = to_jsonb(refused)::text;
  END IF;

  UPDATE batches SET
    failed_count = jsonb_array_length(p_failures || to_jsonb(refused)),
    failures = (SELECT coalesce(jsonb_agg(failure ORDER BY (failure ->> 'index')::integer), '[]') FROM jsonb_array_elements(p_failures || to_jsonb(refused)) AS failure),
    first_signal_id = (SELECT min(id) FROM unnest(stored_ids) AS id),
    last_signal_id = (SELECT max(id) FROM unnest(stored_ids) AS id),
    -- Runs of consecutive ids, "first:count", and "0:count" for duplicates; refused rows are in failures.
    signal_ids = (
      SELECT coalesce(string_agg(format('%s:%s', first, size), ',' ORDER BY start), '') FROM (
        SELECT min(position) AS start, coalesce(min(id), 0) AS first, count(*) AS size FROM (
          SELECT id, position, row_number() OVER (PARTITION BY id IS NULL ORDER BY position) AS nth FROM (
            SELECT id, row_number() OVER (ORDER BY at) AS position FROM unnest(stored_ids) WITH ORDINALITY AS tried (id, at)
            WHERE at <> ALL (refused_positions)
          ) AS kept
        ) AS numbered
        -- The positions of a run follow each other, and so do its ids.
        GROUP BY id IS NULL, position - nth, id - position
      ) AS run
    )
  WHERE transaction_id = p_transaction_id;
  RETURN QUERY SELECT array_to_string(stored_ids, ',', ''), to_jsonb(refused);
END
$$;

GRANT EXECUTE ON FUNCTION store_signals_one_by_one TO signal_ingest_writer;
