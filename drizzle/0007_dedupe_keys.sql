CREATE TABLE "backfills" (
	"name" text PRIMARY KEY NOT NULL,
	"last_id" bigint DEFAULT 0 NOT NULL,
	"finished_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "dedupe_keys" (
	"key_hash" uuid PRIMARY KEY NOT NULL,
	"signal_id" bigint NOT NULL
);--> statement-breakpoint
-- The one place where a key becomes what is stored of it.
CREATE FUNCTION dedupe_key_hash(dedupe_key text) RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
RETURN encode(substr(sha256(convert_to(dedupe_key, 'UTF8')), 1, 16), 'hex')::uuid;
--> statement-breakpoint
-- Enters the keys of signals that the former version of the service writes, before the unique index sees them, so that both versions take
-- the same lock first. A row whose key is another signal's is left out, as the former version's "on conflict do nothing" leaves it out.
-- The signals of before this trigger may have no entry yet, so that their table is asked, too.
CREATE FUNCTION take_dedupe_key() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  hash uuid := dedupe_key_hash(NEW.dedupe_key);
  holder bigint := (SELECT signal_id FROM dedupe_keys WHERE key_hash = hash);
BEGIN
  IF holder IS NULL THEN
    INSERT INTO dedupe_keys (key_hash, signal_id)
    VALUES (hash, coalesce((SELECT id FROM signals WHERE dedupe_key = NEW.dedupe_key), NEW.id))
    ON CONFLICT DO NOTHING;
    holder := (SELECT signal_id FROM dedupe_keys WHERE key_hash = hash);
  END IF;
  RETURN CASE WHEN holder = NEW.id THEN NEW END;
END
$$;
--> statement-breakpoint
CREATE TRIGGER signals_take_dedupe_key BEFORE INSERT ON signals
FOR EACH ROW WHEN (NEW.dedupe_key IS NOT NULL) EXECUTE FUNCTION take_dedupe_key();
--> statement-breakpoint
-- "npm run db:migrate" enters the keys of the signals that are there, in steps, after the migrations.
INSERT INTO backfills (name) VALUES ('dedupe_keys');
--> statement-breakpoint
GRANT SELECT ON backfills TO signal_ingest_writer;
--> statement-breakpoint
GRANT SELECT, INSERT ON dedupe_keys TO signal_ingest_writer;
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
      -- Data, integrity, check option, program limits and what a trigger raises are the row's fault; the rest is the database's.
      IF left(SQLSTATE, 2) NOT IN ('22', '23', '44', '54', 'P0') THEN
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
