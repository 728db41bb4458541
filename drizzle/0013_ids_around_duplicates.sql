-- A run of ids ends where a duplicate comes between: before, it was counted on, and so named the ids of duplicates.
-- For a batch in which the database refused something: tries each row in a savepoint of its own, and records what was refused
-- in the batch's ledger row. Returns no row when the ledger has the batch already, else one: the id of each row as it was given,
-- joined by commas ("" for a refused row and for one whose dedupe_key is taken), and the refusals as [{"index", "error"}].
-- With p_all_or_nothing a refusal undoes everything: SQLSTATE P0A0N, the refusals in DETAIL.
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
  refused_places integer[] := '{}';
  broken_constraint text;
  i integer;
BEGIN
  INSERT INTO batches (transaction_id, caller, state, total_count, failed_count, failures, idempotency_key, request_hash)
  VALUES (p_transaction_id, p_caller, 'stored', p_total, 0, '[]', p_idempotency_key, p_request_hash)
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN;
  END IF;

  FOR i IN SELECT place FROM generate_subscripts(p_indexes, 1) AS place ORDER BY p_dedupe_key[place], place LOOP
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
      -- Data, integrity, check option, program limits and what a trigger raises are the row's fault; the rest is the database's. So is a
      -- missing partition, which Postgres reports as a check_violation of no constraint.
      GET STACKED DIAGNOSTICS broken_constraint = CONSTRAINT_NAME;
      IF left(SQLSTATE, 2) NOT IN ('22', '23', '44', '54', 'P0')
        OR (SQLSTATE = '23514' AND broken_constraint IN ('', 'signals_first_partition')) THEN
        RAISE;
      END IF;
      refused := refused || jsonb_build_object(
        'index', p_indexes[i], 'error', format('refused by the database: %s (%s)', left(SQLERRM, 200), SQLSTATE));
      refused_places := refused_places || i;
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
        SELECT min(place) AS start, coalesce(min(id), 0) AS first, count(*) AS size FROM (
          SELECT id, place, row_number() OVER (PARTITION BY id IS NULL ORDER BY place) AS nth FROM (
            SELECT id, row_number() OVER (ORDER BY at) AS place FROM unnest(stored_ids) WITH ORDINALITY AS tried (id, at)
            WHERE at <> ALL (refused_places)
          ) AS kept
        ) AS numbered
        -- The places of a run follow each other, and so do its ids.
        GROUP BY id IS NULL, place - nth, id - place
      ) AS run
    )
  WHERE transaction_id = p_transaction_id;
  RETURN QUERY SELECT array_to_string(stored_ids, ',', ''), to_jsonb(refused);
END
$$;
