-- A database of the last version before 1.0: the schema at its last migration, with partitions, and rows of several of its versions.
-- The functions have no bodies, since every one of them is replaced or dropped.
CREATE TABLE batches (
	transaction_id uuid PRIMARY KEY NOT NULL,
	created_at timestamp with time zone DEFAULT now() NOT NULL,
	caller text NOT NULL,
	state text NOT NULL,
	total_count integer NOT NULL,
	failed_count integer NOT NULL,
	failures jsonb NOT NULL,
	reason text,
	first_signal_id bigint,
	last_signal_id bigint,
	signal_ids text,
	idempotency_key text,
	request_hash text,
	xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
	CONSTRAINT batches_counts CHECK (batches.failed_count between 0 and batches.total_count)
);
CREATE TABLE dead_letters (
	id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name dead_letters_id_seq INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	created_at timestamp with time zone DEFAULT now() NOT NULL,
	transaction_id uuid NOT NULL,
	"index" integer NOT NULL,
	source text NOT NULL,
	caller text NOT NULL,
	reason text NOT NULL,
	record text NOT NULL,
	code text,
	field text,
	truncated boolean DEFAULT false NOT NULL,
	replay_transaction_id uuid NOT NULL,
	state text DEFAULT 'waiting' NOT NULL
);
CREATE TABLE dedupe_keys (
	key_hash uuid PRIMARY KEY NOT NULL,
	signal_id bigint NOT NULL
);
CREATE TABLE erasures (
	id uuid PRIMARY KEY NOT NULL,
	created_at timestamp with time zone DEFAULT now() NOT NULL,
	finished_at timestamp with time zone,
	requested_by text NOT NULL,
	kind text NOT NULL,
	subject_hash uuid NOT NULL,
	suppress boolean NOT NULL,
	phase text DEFAULT 'begin' NOT NULL,
	"position" text DEFAULT '' NOT NULL,
	subject text,
	signal_ids bigint[],
	transaction_ids uuid[],
	waits_for text[],
	signal_count bigint DEFAULT 0 NOT NULL,
	dead_letter_count bigint DEFAULT 0 NOT NULL,
	ledger_count bigint DEFAULT 0 NOT NULL,
	object_count bigint DEFAULT 0 NOT NULL,
	idempotency_key text,
	request_hash text
);
CREATE TABLE signals (
	id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name signals_id_seq INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	time timestamp with time zone NOT NULL,
	received_at timestamp with time zone DEFAULT now(),
	edited_at timestamp with time zone,
	transaction_id uuid NOT NULL,
	signal_score double precision NOT NULL,
	emotional_tone double precision,
	escalate_flag smallint NOT NULL,
	context_window_id text NOT NULL,
	signal_source text NOT NULL,
	raw_content text,
	signal_vector text,
	agent_id text,
	user_id text,
	payload jsonb,
	relationship_context text,
	diagnostic_notes text,
	dedupe_key text,
	CONSTRAINT signals_context_window_id_length CHECK (char_length(signals.context_window_id) between 1 and 255),
	CONSTRAINT signals_signal_source_length CHECK (char_length(signals.signal_source) between 1 and 255),
	CONSTRAINT signals_dedupe_key_length CHECK (char_length(signals.dedupe_key) between 1 and 255),
	CONSTRAINT signals_signal_score_range CHECK (signals.signal_score between 0 and 1),
	CONSTRAINT signals_emotional_tone_range CHECK (signals.emotional_tone between 0 and 1),
	CONSTRAINT signals_escalate_flag_range CHECK (signals.escalate_flag in (0, 1)),
	CONSTRAINT signals_payload_object CHECK (jsonb_typeof(signals.payload) = 'object')
) PARTITION BY RANGE (id);
CREATE TABLE suppressions (
	kind text NOT NULL,
	subject_hash uuid NOT NULL,
	erasure_id uuid NOT NULL,
	permanent boolean NOT NULL,
	created_at timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT suppressions_kind_subject_hash_pk PRIMARY KEY(kind,subject_hash)
);
CREATE TABLE sweep_positions (
	name text PRIMARY KEY NOT NULL,
	"position" uuid NOT NULL
);
CREATE INDEX batches_xid_transaction_id_idx ON batches USING btree (xid,transaction_id);CREATE UNIQUE INDEX batches_idempotency_key_idx ON batches USING btree (caller,idempotency_key) WHERE batches.idempotency_key is not null;CREATE INDEX batches_idempotency_expiry_idx ON batches USING btree (created_at) WHERE batches.idempotency_key is not null;CREATE UNIQUE INDEX dead_letters_transaction_id_index_idx ON dead_letters USING btree (transaction_id,index);CREATE INDEX dead_letters_state_id_idx ON dead_letters USING btree (state,id);CREATE UNIQUE INDEX erasures_idempotency_key_idx ON erasures USING btree (requested_by,idempotency_key) WHERE erasures.idempotency_key is not null;CREATE INDEX erasures_running_idx ON erasures USING btree (id) WHERE erasures.phase <> 'done';CREATE TABLE backfills (
	name text PRIMARY KEY NOT NULL,
	last_id bigint DEFAULT 0 NOT NULL,
	finished_at timestamp with time zone
);
CREATE FUNCTION signal_arrival(received_at timestamptz, transaction_id uuid) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN received_at;
CREATE FUNCTION dedupe_key_hash(dedupe_key text) RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
RETURN encode(substr(sha256(convert_to(dedupe_key, 'UTF8')), 1, 16), 'hex')::uuid;
CREATE FUNCTION subject_hash(kind text, subject text) RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE RETURN NULL::uuid;
CREATE FUNCTION is_any_suppressed() RETURNS boolean LANGUAGE plpgsql VOLATILE AS 'BEGIN END';
CREATE FUNCTION refuse_suppressed(
  positions bigint[], transaction_ids uuid[], user_ids text[], agent_ids text[], context_window_ids text[]
) RETURNS boolean LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan AS 'BEGIN END';
CREATE FUNCTION delete_signals_by_key(p_dedupe_keys text[]) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS 'BEGIN END';
CREATE FUNCTION edit_signals_by_key(
  p_dedupe_key text[], p_edited_at timestamptz[], p_raw_content text[], p_agent_id text[], p_user_id text[], p_payload text[]
) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS 'BEGIN END';
CREATE FUNCTION signal_partition_rows() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 10000000;
CREATE VIEW signal_partitions AS
SELECT relname::text AS name, nullif(bounds[1], 'MINVALUE')::bigint AS from_id, bounds[2]::bigint AS to_id
FROM pg_inherits
JOIN pg_class ON pg_class.oid = inhrelid
CROSS JOIN regexp_match(pg_get_expr(relpartbound, pg_class.oid), 'FROM \(''?([-\d]+|MINVALUE)''?\) TO \(''?([-\d]+)''?\)') AS bounds
WHERE inhparent = to_regclass('signals') AND NOT inhdetachpending;
CREATE FUNCTION make_signal_partitions(p_ids bigint DEFAULT 0) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET lock_timeout = '2s' SET search_path = public, pg_temp AS 'BEGIN END';
CREATE FUNCTION drop_expired_partition(p_days integer) RETURNS text LANGUAGE plpgsql SECURITY DEFINER
SET lock_timeout = '2s' SET search_path = public, pg_temp AS 'BEGIN END';
CREATE FUNCTION signal_stats(p_since timestamptz, p_most integer, p_listed integer)
RETURNS TABLE (context_window_id text, signal_count bigint, avg_score float8, latest timestamptz)
LANGUAGE plpgsql VOLATILE SET work_mem = '32MB' AS 'BEGIN END';
CREATE FUNCTION store_signals_one_by_one(
  p_transaction_id uuid, p_caller text, p_idempotency_key text, p_request_hash text,
  p_total integer, p_failures jsonb, p_all_or_nothing boolean, p_indexes integer[],
  p_context_window_id text[], p_time text[], p_raw_content text[], p_signal_source text[],
  p_signal_score text[], p_signal_vector text[], p_emotional_tone text[], p_escalate_flag text[],
  p_agent_id text[], p_user_id text[], p_payload text[],
  p_relationship_context text[], p_diagnostic_notes text[], p_dedupe_key text[]
) RETURNS TABLE (ids text, refusals jsonb) LANGUAGE plpgsql AS 'BEGIN END';

DO $$ BEGIN CREATE ROLE signal_ingest_writer NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT USAGE ON SCHEMA public TO signal_ingest_writer;
GRANT SELECT, INSERT ON signals, batches, dead_letters, dedupe_keys TO signal_ingest_writer;
GRANT SELECT, INSERT, UPDATE ON erasures, suppressions, sweep_positions TO signal_ingest_writer;
GRANT DELETE ON signals, batches, dead_letters, suppressions TO signal_ingest_writer;
GRANT UPDATE (idempotency_key, request_hash, failed_count, failures, reason, first_signal_id, last_signal_id, signal_ids) ON batches TO signal_ingest_writer;
GRANT UPDATE (state, record) ON dead_letters TO signal_ingest_writer;
GRANT USAGE ON SEQUENCE signals_id_seq TO signal_ingest_writer;
GRANT SELECT ON signal_partitions, backfills TO signal_ingest_writer;
REVOKE EXECUTE ON FUNCTION delete_signals_by_key, edit_signals_by_key, make_signal_partitions, drop_expired_partition FROM PUBLIC;
GRANT EXECUTE ON FUNCTION delete_signals_by_key, edit_signals_by_key, make_signal_partitions, drop_expired_partition, signal_arrival,
  subject_hash, is_any_suppressed, refuse_suppressed, signal_stats, store_signals_one_by_one TO signal_ingest_writer;

CREATE TABLE signals_0 PARTITION OF signals FOR VALUES FROM (MINVALUE) TO (10000000);
CREATE TABLE signals_10000000 PARTITION OF signals FOR VALUES FROM (10000000) TO (20000000);
GRANT SELECT, INSERT, DELETE ON signals_0 TO signal_ingest_writer;
CREATE INDEX signals_newest_idx ON signals (time, id) INCLUDE (context_window_id, signal_score, escalate_flag, agent_id);
CREATE INDEX signals_conversation_idx ON signals (context_window_id, time, id) INCLUDE (signal_source);
CREATE INDEX signals_source_idx ON signals (signal_source, time, id);
CREATE INDEX signals_user_idx ON signals (user_id, time, id) WHERE user_id IS NOT NULL;
CREATE INDEX signals_escalated_idx ON signals (time, id) WHERE escalate_flag = 1;

CREATE SCHEMA drizzle;
CREATE TABLE drizzle.__drizzle_migrations (id serial PRIMARY KEY, hash text NOT NULL, created_at bigint);
INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES
  ('former', 1795528418638),
  ('dc59ecf8524c3a609a690a390f78c45f1729b4783cce222ef23d0ddbfda7f2af', 1795951200000);
INSERT INTO backfills VALUES ('dedupe_keys', 6, now());

INSERT INTO batches (transaction_id, caller, state, total_count, failed_count, failures, first_signal_id, last_signal_id, signal_ids, xid) VALUES
  -- Without ids and codes: the second of its signals was a duplicate.
  ('0194694c-5e3b-7000-8000-000000000001', 'a', 'stored', 4, 1, '[{"index": 3, "error": "signal_score must be between 0 and 1"}]', 1, 3, NULL, '0'),
  -- A run that was counted on across a duplicate.
  ('0194694c-5e3b-7000-8000-000000000002', 'a', 'stored', 4, 1, '[{"index": 3, "error": "refused by the database: overflow (22003)"}]', 4, 6, '4:2,0:1', '0'),
  ('0194694c-5e3b-7000-8000-000000000003', 'a', 'failed', 1, 1, '[]', NULL, NULL, NULL, '0'),
  ('0194694c-5e3b-7000-8000-000000000004', 'a', 'stored', 3, 1, '[{"index": 2, "error": "x", "code": "blank", "retryable": false}]', 7, 8, '7:2', '7');
INSERT INTO signals (id, time, received_at, transaction_id, signal_score, escalate_flag, context_window_id, signal_source, dedupe_key, user_id, agent_id)
OVERRIDING SYSTEM VALUE VALUES
  (1, '2025-01-15T08:00Z', NULL, '0194694c-5e3b-7000-8000-000000000001', 0.5, 0, 'c', 's', 'one', NULL, NULL),
  (3, '2025-01-15T08:00Z', NULL, '0194694c-5e3b-7000-8000-000000000001', 0.5, 0, 'c', 's', NULL, 'u', NULL),
  (4, '2025-01-15T08:00Z', '2025-01-15T09:31Z', '0194694c-5e3b-7000-8000-000000000002', 0.5, 1, 'c', 's', NULL, 'u', 'agent'),
  (6, '2025-01-15T08:00Z', '2025-01-15T09:31Z', '0194694c-5e3b-7000-8000-000000000002', 0.5, 0, 'c', 's', NULL, NULL, NULL),
  -- Longer than a rule of 1.0 allows.
  (7, '2025-01-15T08:00Z', '2025-01-15T09:32Z', '0194694c-5e3b-7000-8000-000000000004', 0.5, 0, 'c', 's', NULL, repeat('u', 5000), repeat('a', 5000)),
  (8, '2025-01-15T08:00Z', '2025-01-15T09:32Z', '0194694c-5e3b-7000-8000-000000000004', 0.5, 0, 'c', 's', NULL, NULL, NULL);
INSERT INTO dedupe_keys VALUES (dedupe_key_hash('one'), 1);
SELECT setval('signals_id_seq', 8);
INSERT INTO dead_letters (transaction_id, index, source, caller, reason, record, code, replay_transaction_id) VALUES
  ('0194694c-5e3b-7000-8000-000000000001', 0, 'kafka', 'a', 'refused by the database: overflow (22003)', '{"value":{"context_window_id":"c"}}', NULL, gen_random_uuid()),
  ('0194694c-5e3b-7000-8000-000000000001', 1, 'slack', 'a', 'The event has no channel.', '{}', NULL, gen_random_uuid()),
  ('0194694c-5e3b-7000-8000-000000000004', 2, 'kafka', 'a', 'context_window_id must not be blank', '{}', 'blank', gen_random_uuid());
