-- How many ids a partition of "signals" holds. A change is for partitions to come.
CREATE FUNCTION signal_partition_rows() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 10000000;
--> statement-breakpoint
-- The partitions of "signals" with their ids, from inclusive (null: no bound), to exclusive. None while it is a plain table.
CREATE VIEW signal_partitions AS
SELECT relname::text AS name, nullif(bounds[1], 'MINVALUE')::bigint AS from_id, bounds[2]::bigint AS to_id
FROM pg_inherits
JOIN pg_class ON pg_class.oid = inhrelid
CROSS JOIN regexp_match(pg_get_expr(relpartbound, pg_class.oid), 'FROM \(''?([-\d]+|MINVALUE)''?\) TO \(''?([-\d]+)''?\)') AS bounds
WHERE inhparent = to_regclass('signals') AND NOT inhdetachpending;
--> statement-breakpoint
-- Makes partitions of "signals" as far as the next p_ids ids (1,000,000 at most) and as many more as a partition holds. It takes no lock
-- that a read or a write of "signals" waits for. Returns how many it has made.
CREATE FUNCTION make_signal_partitions(p_ids bigint DEFAULT 0) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET lock_timeout = '2s' AS $$
DECLARE
  size bigint := signal_partition_rows();
  newest_id bigint;
  last_id bigint;
  start_id bigint;
  end_id bigint;
  made integer := 0;
BEGIN
  -- One after the other, so that each sees what the one before has made.
  PERFORM pg_advisory_xact_lock(7305502);
  SELECT last_value INTO newest_id FROM signals_id_seq;
  last_id := newest_id + least(greatest(p_ids, 0), 1000000) + size;

  IF (SELECT relkind = 'r' FROM pg_class WHERE oid = to_regclass('signals')) THEN
    -- "npm run db:partition" was ended before its last step, and the ids reach the end that it had chosen for the first partition.
    SELECT substring(pg_get_constraintdef(oid) FROM '\d+')::bigint INTO end_id
    FROM pg_constraint WHERE conrelid = to_regclass('signals') AND conname = 'signals_first_partition';
    IF end_id <= newest_id + least(greatest(p_ids, 0), 1000000) + size / 10 THEN
      ALTER TABLE signals DROP CONSTRAINT signals_first_partition;
    END IF;
    RETURN 0;
  END IF;

  -- Ids that were reserved and never stored need no partition.
  SELECT greatest(coalesce(max(to_id), 0), newest_id - newest_id % size) INTO start_id FROM signal_partitions;
  WHILE start_id <= last_id LOOP
    end_id := (start_id / size + 1) * size;
    EXECUTE format(
      'CREATE TABLE %I (LIKE signals INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION)',
      'signals_' || start_id
    );
    -- Attached, it locks less than a table that is created as a partition.
    EXECUTE format(
      'ALTER TABLE signals ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', 'signals_' || start_id, start_id, end_id
    );
    start_id := end_id;
    made := made + 1;
  END LOOP;
  RETURN made;
END
$$;
--> statement-breakpoint
DO $$
BEGIN
  -- What it names must not be another's: no temporary table, and no other schema.
  EXECUTE format('ALTER FUNCTION make_signal_partitions SET search_path = %I, pg_temp', current_schema());
END
$$;
--> statement-breakpoint
REVOKE EXECUTE ON FUNCTION make_signal_partitions FROM PUBLIC;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION make_signal_partitions TO signal_ingest_writer;
--> statement-breakpoint
GRANT SELECT ON signal_partitions TO signal_ingest_writer;
--> statement-breakpoint
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
        GROUP BY id IS NULL, coalesce(id, nth) - place
      ) AS run
    )
  WHERE transaction_id = p_transaction_id;
  RETURN QUERY SELECT array_to_string(stored_ids, ',', ''), to_jsonb(refused);
END
$$;
