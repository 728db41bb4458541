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
CREATE TABLE "suppressions" (
	"kind" text NOT NULL,
	"subject_hash" uuid NOT NULL,
	"erasure_id" uuid NOT NULL,
	"permanent" boolean NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "suppressions_kind_subject_hash_pk" PRIMARY KEY("kind","subject_hash")
);
--> statement-breakpoint
CREATE UNIQUE INDEX "erasures_idempotency_key_idx" ON "erasures" USING btree ("requested_by","idempotency_key") WHERE "erasures"."idempotency_key" is not null;--> statement-breakpoint
CREATE INDEX "erasures_running_idx" ON "erasures" USING btree ("id") WHERE "erasures"."phase" <> 'done';
--> statement-breakpoint
-- The one place where a subject becomes what is kept of it.
CREATE FUNCTION subject_hash(kind text, subject text) RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
RETURN encode(substr(sha256(convert_to(kind || ':' || subject, 'UTF8')), 1, 16), 'hex')::uuid;
--> statement-breakpoint
-- Both are volatile: they take their lock on the table before they take their snapshot, so that none misses what was committed before.
CREATE FUNCTION is_any_suppressed() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RETURN EXISTS (SELECT FROM suppressions);
END
$$;
--> statement-breakpoint
-- With one plan for all calls: planning anew takes longer than looking a batch up.
-- Ends a write with rows of suppressed subjects: SQLSTATE P0S0S, with "position:field" of each in DETAIL, joined by commas. Without any it
-- returns true. A transaction id for each row, or one for all. A row may be named by several fields.
CREATE FUNCTION refuse_suppressed(
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
    -- One that is not permanent refuses what was accepted before its erasure. Both ids are UUIDv7.
    WHERE subject IS NOT NULL AND (permanent OR coalesce(transaction_id, transaction_ids[1]) < erasure_id);
    refused := concat_ws(',', refused, found);
  END LOOP;
  IF refused <> '' THEN
    RAISE EXCEPTION USING ERRCODE = 'P0S0S', MESSAGE = 'rows are suppressed', DETAIL = refused;
  END IF;
  RETURN true;
END
$$;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION is_any_suppressed, refuse_suppressed TO signal_ingest_writer;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION subject_hash TO signal_ingest_writer;
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE ON "erasures" TO signal_ingest_writer;
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON "suppressions" TO signal_ingest_writer;
--> statement-breakpoint
GRANT DELETE ON "signals", "dead_letters" TO signal_ingest_writer;
--> statement-breakpoint
GRANT UPDATE ("record") ON "dead_letters" TO signal_ingest_writer;
--> statement-breakpoint
GRANT UPDATE ("reason") ON "batches" TO signal_ingest_writer;
