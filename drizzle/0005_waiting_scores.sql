CREATE TABLE "waiting_scores" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "waiting_scores_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"caller" text NOT NULL,
	"transaction_id" uuid NOT NULL,
	"index" integer NOT NULL,
	"dedupe_key" text NOT NULL,
	"scored_at" timestamp with time zone NOT NULL,
	"scorer" text,
	"signal_score" double precision,
	"emotional_tone" double precision,
	"escalate_flag" smallint,
	CONSTRAINT "waiting_scores_same" UNIQUE NULLS NOT DISTINCT("dedupe_key","scored_at","scorer","signal_score","emotional_tone","escalate_flag")
);
--> statement-breakpoint
GRANT SELECT, DELETE ON "waiting_scores" TO signal_ingest_writer;
-- functions/scores.sql 7301c340
