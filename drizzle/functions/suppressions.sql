-- Only this function turns a subject into what is kept of it.
CREATE OR REPLACE FUNCTION subject_hash(kind text, subject text) RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
RETURN encode(substr(sha256(convert_to(kind || ':' || subject, 'UTF8')), 1, 16), 'hex')::uuid;

-- Both functions below are volatile: they take their lock on the table before their snapshot, so that they miss nothing that was
-- committed before.
CREATE OR REPLACE FUNCTION is_any_suppressed() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RETURN EXISTS (SELECT FROM suppressions);
END
$$;

-- Ends a write with rows of suppressed subjects: SQLSTATE P0S0S, with "position:field" of each in DETAIL, joined by commas. Otherwise it
-- returns true. There is one transaction id for each row, or one for all. Several fields may name the same row.
-- One plan serves all calls: planning anew takes longer than the lookup of a batch.
CREATE OR REPLACE FUNCTION refuse_suppressed(
  positions bigint[], transaction_ids uuid[], user_ids text[], agent_ids text[], context_window_ids text[]
) RETURNS boolean LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  fields text[] := ARRAY['agent_id', 'context_window_id', 'user_id'];
  field text;
  found text;
  refused text;
BEGIN
  FOREACH field IN ARRAY fields LOOP
    CONTINUE WHEN NOT EXISTS (SELECT FROM suppressions WHERE kind = field);
    SELECT string_agg(position || ':' || field, ',') INTO found
    FROM unnest(
      positions, transaction_ids, CASE field WHEN 'user_id' THEN user_ids WHEN 'agent_id' THEN agent_ids ELSE context_window_ids END
    ) AS row (position, transaction_id, subject)
    JOIN suppressions ON kind = field AND subject_hash = subject_hash(field, subject)
    -- A suppression that is not permanent refuses what was accepted before its erasure. Both ids are UUIDv7.
    WHERE subject IS NOT NULL AND (permanent OR coalesce(transaction_id, transaction_ids[1]) < erasure_id);
    refused := concat_ws(',', refused, found);
  END LOOP;
  IF refused <> '' THEN
    RAISE EXCEPTION USING ERRCODE = 'P0S0S', MESSAGE = 'rows are suppressed', DETAIL = refused;
  END IF;
  RETURN true;
END
$$;

GRANT EXECUTE ON FUNCTION subject_hash, is_any_suppressed, refuse_suppressed TO signal_ingest_writer;
