-- The whole schema, as drizzle generates it from src/store/schema.ts, with three additions by hand: the partitions of "signals", the
-- role of the service and its privileges. The SQL functions are in drizzle/functions, the indexes of "signals" in
-- src/local/postgres/indexes.ts.
CREATE TABLE "batches" (
	"transaction_id" uuid PRIMARY KEY NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"caller" text NOT NULL,
	"state" text NOT NULL,
	"total_count" integer NOT NULL,
	"failed_count" integer NOT NULL,
	"failures" jsonb NOT NULL,
	"reason" text,
	"first_signal_id" bigint,
	"last_signal_id" bigint,
	"signal_ids" text DEFAULT '' NOT NULL,
	"idempotency_key" text,
	"request_hash" text,
	"xid" "xid8" DEFAULT pg_current_xact_id() NOT NULL,
	CONSTRAINT "batches_counts" CHECK ("batches"."failed_count" between 0 and "batches"."total_count")
);
--> statement-breakpoint
CREATE TABLE "dead_letters" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "dead_letters_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"transaction_id" uuid NOT NULL,
	"index" integer NOT NULL,
	"source" text NOT NULL,
	"caller" text NOT NULL,
	"reason" text NOT NULL,
	"record" text NOT NULL,
	"code" text NOT NULL,
	"field" text,
	"truncated" boolean DEFAULT false NOT NULL,
	"subject_hashes" uuid[] DEFAULT '{}' NOT NULL,
	"replay_transaction_id" uuid NOT NULL,
	"state" text DEFAULT 'waiting' NOT NULL
);
--> statement-breakpoint
CREATE TABLE "dedupe_keys" (
	"key_hash" uuid PRIMARY KEY NOT NULL,
	"signal_id" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "erasures" (
	"id" uuid PRIMARY KEY NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"finished_at" timestamp with time zone,
	"requested_by" text NOT NULL,
	"kind" text NOT NULL,
	"subject_hash" uuid NOT NULL,
	"suppress" boolean NOT NULL,
	"phase" text DEFAULT 'begin' NOT NULL,
	"position" text DEFAULT '' NOT NULL,
	"subject" text,
	"signal_ids" bigint[],
	"transaction_ids" uuid[],
	"waits_for" text[],
	"signal_count" bigint DEFAULT 0 NOT NULL,
	"dead_letter_count" bigint DEFAULT 0 NOT NULL,
	"ledger_count" bigint DEFAULT 0 NOT NULL,
	"object_count" bigint DEFAULT 0 NOT NULL,
	"idempotency_key" text,
	"request_hash" text
);
--> statement-breakpoint
CREATE TABLE "signals" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "signals_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"time" timestamp with time zone NOT NULL,
	"received_at" timestamp with time zone DEFAULT now() NOT NULL,
	"edited_at" timestamp with time zone,
	"transaction_id" uuid NOT NULL,
	"signal_score" double precision NOT NULL,
	"emotional_tone" double precision,
	"escalate_flag" smallint NOT NULL,
	"context_window_id" text NOT NULL,
	"signal_source" text NOT NULL,
	"raw_content" text,
	"signal_vector" text,
	"agent_id" text,
	"user_id" text,
	"payload" jsonb,
	"relationship_context" text,
	"diagnostic_notes" text,
	"dedupe_key" text,
	CONSTRAINT "signals_context_window_id_length" CHECK (char_length("signals"."context_window_id") between 1 and 255),
	CONSTRAINT "signals_signal_source_length" CHECK (char_length("signals"."signal_source") between 1 and 255),
	CONSTRAINT "signals_dedupe_key_length" CHECK (char_length("signals"."dedupe_key") between 1 and 255),
	CONSTRAINT "signals_signal_score_range" CHECK ("signals"."signal_score" between 0 and 1),
	CONSTRAINT "signals_emotional_tone_range" CHECK ("signals"."emotional_tone" between 0 and 1),
	CONSTRAINT "signals_escalate_flag_range" CHECK ("signals"."escalate_flag" in (0, 1)),
	CONSTRAINT "signals_payload_object" CHECK (jsonb_typeof("signals"."payload") = 'object')
) PARTITION BY RANGE ("id");
--> statement-breakpoint
CREATE TABLE "suppressions" (
	"kind" text NOT NULL,
	"subject_hash" uuid NOT NULL,
	"erasure_id" uuid NOT NULL,
	"permanent" boolean NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "suppressions_kind_subject_hash_pk" PRIMARY KEY("kind","subject_hash")
);
--> statement-breakpoint
CREATE TABLE "sweep_positions" (
	"name" text PRIMARY KEY NOT NULL,
	"position" uuid NOT NULL
);
--> statement-breakpoint
CREATE INDEX "batches_xid_transaction_id_idx" ON "batches" USING btree ("xid","transaction_id");--> statement-breakpoint
CREATE UNIQUE INDEX "batches_idempotency_key_idx" ON "batches" USING btree ("caller","idempotency_key") WHERE "batches"."idempotency_key" is not null;--> statement-breakpoint
CREATE INDEX "batches_idempotency_expiry_idx" ON "batches" USING btree ("created_at") WHERE "batches"."idempotency_key" is not null;--> statement-breakpoint
CREATE UNIQUE INDEX "dead_letters_transaction_id_index_idx" ON "dead_letters" USING btree ("transaction_id","index");--> statement-breakpoint
CREATE INDEX "dead_letters_state_id_idx" ON "dead_letters" USING btree ("state","id");--> statement-breakpoint
CREATE UNIQUE INDEX "erasures_idempotency_key_idx" ON "erasures" USING btree ("requested_by","idempotency_key") WHERE "erasures"."idempotency_key" is not null;--> statement-breakpoint
CREATE INDEX "erasures_running_idx" ON "erasures" USING btree ("id") WHERE "erasures"."phase" <> 'done';--> statement-breakpoint
-- The group role of the service's database login: it may do what the service does, owns nothing, and changes no table.
-- A role belongs to the whole cluster, so another database's migration may have made it.
DO $$
BEGIN
  CREATE ROLE signal_ingest_writer NOLOGIN;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN
    NULL;
  WHEN insufficient_privilege THEN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'signal_ingest_writer') THEN
      RAISE EXCEPTION USING
        ERRCODE = 'insufficient_privilege',
        MESSAGE = 'The role signal_ingest_writer does not exist, and the migrator may not create it. '
          || 'Run "create role signal_ingest_writer nologin" as an administrator, then migrate again.';
    END IF;
END
$$;
--> statement-breakpoint
DO $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO signal_ingest_writer', current_schema());
END
$$;
--> statement-breakpoint
GRANT SELECT, INSERT ON "signals", "batches", "dead_letters", "dedupe_keys" TO signal_ingest_writer;--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE ON "erasures", "suppressions", "sweep_positions" TO signal_ingest_writer;--> statement-breakpoint
GRANT DELETE ON "signals", "batches", "dead_letters", "suppressions" TO signal_ingest_writer;--> statement-breakpoint
GRANT UPDATE ("idempotency_key", "request_hash", "failed_count", "failures", "reason", "first_signal_id", "last_signal_id", "signal_ids") ON "batches" TO signal_ingest_writer;--> statement-breakpoint
GRANT UPDATE ("state", "record") ON "dead_letters" TO signal_ingest_writer;--> statement-breakpoint
GRANT USAGE ON SEQUENCE "signals_id_seq" TO signal_ingest_writer;
--> statement-breakpoint
-- The migrator applies drizzle/functions after it, in the same transaction. See CONTRIBUTING.md for these hashes.
-- functions/dedupe-keys.sql f52a63e1
-- functions/partitions.sql 64f803e7
-- functions/statistics.sql 2b84ec4a
-- functions/store-by-halves.sql 955dfe47
-- functions/suppressions.sql f9b8b132
