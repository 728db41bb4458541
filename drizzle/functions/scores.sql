-- Stores a batch of scores of signals that are stored already, its ledger row included. Returns no row when the ledger already has the
-- batch, else one: the signal of each score as it was given, joined by commas ("=ID" for a score that was stored before, "~" for one that
-- waits for its signal, "" for one that failed), and the failures as the ledger has them.
-- A score by a dedupe_key that no signal has taken waits in waiting_scores, where 100,000 have room.
-- With p_all_or_nothing a failure undoes everything: SQLSTATE P0A0N, the failures in DETAIL.
-- A signal has, for each value, that of its newest score. Of scores of the same time the one of the last scorer counts, in the order of
-- bytes, and then the highest value: so the order of arrival does not matter.
CREATE OR REPLACE FUNCTION store_scores(
  p_transaction_id uuid, p_caller text, p_idempotency_key text, p_request_hash text,
  p_total integer, p_failures jsonb, p_all_or_nothing boolean, p_most integer,
  p_indexes integer[], p_signal_ids bigint[], p_dedupe_keys text[], p_scored_at timestamptz[], p_scorers text[],
  p_signal_scores float8[], p_emotional_tones float8[], p_escalate_flags smallint[]
) RETURNS TABLE (ids text, refusals jsonb) LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  targets bigint[];
  held bigint[];
  room integer := 0;
  outcomes text[];
  refused jsonb;
BEGIN
  INSERT INTO batches (transaction_id, caller, kind, state, total_count, failed_count, failures, idempotency_key, request_hash)
  VALUES (p_transaction_id, p_caller, 'scores', 'stored', p_total, 0, '[]', p_idempotency_key, p_request_hash)
  ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN;
  END IF;

  targets := ARRAY(
    SELECT coalesce(sent.signal_id, dedupe_keys.signal_id)
    FROM unnest(p_signal_ids, p_dedupe_keys) WITH ORDINALITY AS sent (signal_id, dedupe_key, at)
    LEFT JOIN dedupe_keys ON sent.signal_id IS NULL AND key_hash = dedupe_key_hash(dedupe_key)
    ORDER BY at
  );
  -- Waits for what deletes one of them, and keeps other scores away until this transaction ends. In the order of ids, as every batch of
  -- scores locks them.
  held := ARRAY(SELECT id FROM signals WHERE id = ANY (targets) ORDER BY id FOR NO KEY UPDATE);

  IF array_position(targets, NULL) IS NOT NULL THEN
    SELECT 100000 - count(*) INTO room FROM (SELECT FROM waiting_scores LIMIT 100000) AS waiting;
  END IF;

  WITH sent AS (
    SELECT
      sent.*, target IS NULL AS is_early, count(*) FILTER (WHERE target IS NULL) OVER (ORDER BY at) <= room AS has_room,
      here.id IS NOT NULL AS is_held,
      (SELECT count(*) FROM signal_scores AS before WHERE before.signal_id = target)
        + row_number() OVER (PARTITION BY target ORDER BY at) > p_most AS is_full
    FROM unnest(targets, p_indexes, p_scored_at, p_scorers, p_signal_scores, p_emotional_tones, p_escalate_flags)
      WITH ORDINALITY AS sent (target, index, scored_at, scorer, signal_score, emotional_tone, escalate_flag, at)
    LEFT JOIN unnest(held) AS here (id) ON here.id = target
  ), added AS (
    INSERT INTO signal_scores (
      signal_id, scored_at, scorer, signal_score, emotional_tone, escalate_flag, transaction_id, index
    )
    SELECT target, scored_at, scorer, signal_score, emotional_tone, escalate_flag, p_transaction_id, index
    FROM sent WHERE is_held AND NOT is_full ORDER BY at
    ON CONFLICT DO NOTHING
    RETURNING index
  ), early AS (
    INSERT INTO waiting_scores (
      caller, transaction_id, index, dedupe_key, scored_at, scorer, signal_score, emotional_tone, escalate_flag
    )
    SELECT p_caller, p_transaction_id, index, p_dedupe_keys[at], scored_at, scorer, signal_score, emotional_tone, escalate_flag
    FROM sent WHERE is_early AND has_room ORDER BY at
    ON CONFLICT DO NOTHING
  )
  SELECT
    array_agg(CASE
      WHEN is_early AND has_room THEN '~'
      WHEN NOT is_held OR is_full THEN ''
      WHEN added.index IS NULL THEN '=' || target
      ELSE target::text
    END ORDER BY at),
    coalesce(jsonb_agg(jsonb_build_object(
      'index', sent.index,
      'error', CASE
        WHEN is_held THEN format('signal %s already has %s scores', target, p_most)
        WHEN is_early THEN 'too many scores wait for their signals'
        WHEN p_signal_ids[at] IS NULL THEN 'the signal with this dedupe_key was deleted'
        ELSE 'no stored signal has this signal_id'
      END,
      'code', CASE
        WHEN is_held THEN 'too_many_scores'
        WHEN is_early THEN 'too_many_waiting'
        WHEN p_signal_ids[at] IS NULL THEN 'deleted_signal'
        ELSE 'unknown_signal'
      END,
      'field', CASE WHEN p_signal_ids[at] IS NULL THEN 'dedupe_key' ELSE 'signal_id' END,
      'retryable', is_early OR p_signal_ids[at] IS NOT NULL AND NOT is_held
    ) ORDER BY at) FILTER (WHERE NOT (is_early AND has_room) AND (NOT is_held OR is_full)), '[]')
  INTO outcomes, refused
  FROM sent LEFT JOIN added ON added.index = sent.index;

  IF p_all_or_nothing AND refused <> '[]' THEN
    RAISE EXCEPTION USING ERRCODE = 'P0A0N', MESSAGE = 'all-or-nothing batch refused', DETAIL = refused::text;
  END IF;

  -- A new statement, which sees the scores of this one and of every transaction for which it waited.
  UPDATE signals SET
    signal_score = coalesce((
      SELECT score.signal_score FROM signal_scores AS score
      WHERE score.signal_id = id AND score.signal_score IS NOT NULL
      ORDER BY scored_at DESC, scorer COLLATE "C" DESC NULLS LAST, score.signal_score DESC LIMIT 1
    ), signal_score),
    emotional_tone = coalesce((
      SELECT score.emotional_tone FROM signal_scores AS score
      WHERE score.signal_id = id AND score.emotional_tone IS NOT NULL
      ORDER BY scored_at DESC, scorer COLLATE "C" DESC NULLS LAST, score.emotional_tone DESC LIMIT 1
    ), emotional_tone),
    escalate_flag = coalesce((
      SELECT score.escalate_flag FROM signal_scores AS score
      WHERE score.signal_id = id AND score.escalate_flag IS NOT NULL
      ORDER BY scored_at DESC, scorer COLLATE "C" DESC NULLS LAST, score.escalate_flag DESC LIMIT 1
    ), escalate_flag)
  WHERE id = ANY (ARRAY(SELECT outcome::bigint FROM unnest(outcomes) AS outcome WHERE outcome ~ '^\d'));

  UPDATE batches SET
    failed_count = jsonb_array_length(p_failures || refused),
    failures = (
      SELECT coalesce(jsonb_agg(failure ORDER BY (failure ->> 'index')::integer), '[]')
      FROM jsonb_array_elements(p_failures || refused) AS failure
    ),
    -- Runs of consecutive ids, "first:count"; "-ID:1" for a score that was stored before, "0:1" for one that waits.
    signal_ids = (
      SELECT coalesce(string_agg(format('%s:%s', first, size), ',' ORDER BY start), '') FROM (
        SELECT min(at) AS start, min(id) AS first, count(*) AS size FROM (
          SELECT id, at, sum(begins) OVER (ORDER BY at) AS run FROM (
            SELECT id, at, CASE WHEN id > 0 AND id = lag(id) OVER (ORDER BY at) + 1 THEN 0 ELSE 1 END AS begins
            FROM (
              SELECT replace(replace(outcome, '=', '-'), '~', '0')::bigint AS id, at
              FROM unnest(outcomes) WITH ORDINALITY AS tried (outcome, at) WHERE outcome <> ''
            ) AS kept
          ) AS marked
        ) AS numbered GROUP BY run
      ) AS runs
    )
  WHERE transaction_id = p_transaction_id;
  RETURN QUERY SELECT array_to_string(outcomes, ','), refused;
END
$$;

REVOKE EXECUTE ON FUNCTION store_scores FROM PUBLIC;
GRANT EXECUTE ON FUNCTION store_scores TO signal_ingest_writer;

-- The scores of a signal go with it, whatever deletes it: erasure, retention, or its source. A dropped partition deletes no row; a sweep
-- removes its scores. A deletion waits for the scores that are being stored, and this function then sees them.
CREATE OR REPLACE FUNCTION delete_scores_of_signals() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path FROM CURRENT AS $$
BEGIN
  -- By the index, however many rows the tables have.
  DELETE FROM signal_scores WHERE signal_id = ANY (ARRAY(SELECT id FROM gone));
  RETURN NULL;
END
$$;

DO $$
BEGIN
  -- In an adoption the functions come before the table.
  IF to_regclass('signal_scores') IS NOT NULL
    AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'signals'::regclass AND tgname = 'signals_delete_scores') THEN
    CREATE TRIGGER signals_delete_scores AFTER DELETE ON signals REFERENCING OLD TABLE AS gone
      FOR EACH STATEMENT EXECUTE FUNCTION delete_scores_of_signals();
  END IF;
END
$$;
