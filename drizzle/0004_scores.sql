CREATE TABLE "signal_scores" (
	"signal_id" bigint NOT NULL,
	"scored_at" timestamp with time zone NOT NULL,
	"scorer" text,
	"signal_score" double precision,
	"emotional_tone" double precision,
	"escalate_flag" smallint,
	"received_at" timestamp with time zone DEFAULT now() NOT NULL,
	"transaction_id" uuid NOT NULL,
	"index" integer NOT NULL,
	CONSTRAINT "signal_scores_same" UNIQUE NULLS NOT DISTINCT("signal_id","scored_at","scorer","signal_score","emotional_tone","escalate_flag"),
	CONSTRAINT "signal_scores_scorer_length" CHECK (char_length("signal_scores"."scorer") between 1 and 255),
	CONSTRAINT "signal_scores_signal_score_range" CHECK ("signal_scores"."signal_score" between 0 and 1),
	CONSTRAINT "signal_scores_emotional_tone_range" CHECK ("signal_scores"."emotional_tone" between 0 and 1),
	CONSTRAINT "signal_scores_escalate_flag_range" CHECK ("signal_scores"."escalate_flag" in (0, 1))
);
--> statement-breakpoint
ALTER TABLE "batches" ADD COLUMN "kind" text DEFAULT 'signals' NOT NULL;--> statement-breakpoint
GRANT SELECT, DELETE ON "signal_scores" TO signal_ingest_writer;
-- functions/scores.sql cd495ed0
