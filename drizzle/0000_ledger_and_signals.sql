CREATE TABLE "batches" (
	"transaction_id" uuid PRIMARY KEY NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"caller" text NOT NULL,
	"state" text NOT NULL,
	"total_count" integer NOT NULL,
	"failed_count" integer NOT NULL,
	"failures" jsonb NOT NULL,
	"first_signal_id" bigint,
	"last_signal_id" bigint,
	"idempotency_key" text,
	"request_hash" text,
	CONSTRAINT "batches_counts" CHECK ("batches"."failed_count" between 0 and "batches"."total_count")
);
--> statement-breakpoint
CREATE TABLE "signals" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "signals_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"time" timestamp with time zone NOT NULL,
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
);
--> statement-breakpoint
CREATE UNIQUE INDEX "batches_idempotency_key_idx" ON "batches" USING btree ("caller","idempotency_key") WHERE "batches"."idempotency_key" is not null;--> statement-breakpoint
CREATE INDEX "batches_idempotency_expiry_idx" ON "batches" USING btree ("created_at") WHERE "batches"."idempotency_key" is not null;--> statement-breakpoint
CREATE INDEX "signals_context_window_id_time_idx" ON "signals" USING btree ("context_window_id","time","id");--> statement-breakpoint
CREATE INDEX "signals_time_idx" ON "signals" USING btree ("time","id");--> statement-breakpoint
CREATE INDEX "signals_signal_source_time_idx" ON "signals" USING btree ("signal_source","time","id");--> statement-breakpoint
CREATE UNIQUE INDEX "signals_dedupe_key_idx" ON "signals" USING btree ("dedupe_key") WHERE "signals"."dedupe_key" is not null;