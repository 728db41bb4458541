CREATE TABLE "api_key_days" (
	"name" text NOT NULL,
	"day" date NOT NULL,
	"signals" bigint NOT NULL,
	"bytes" bigint NOT NULL,
	CONSTRAINT "api_key_days_day_name_pk" PRIMARY KEY("day","name")
);
--> statement-breakpoint
ALTER TABLE "api_keys" ADD COLUMN "signals_per_day" bigint;--> statement-breakpoint
ALTER TABLE "api_keys" ADD COLUMN "bytes_per_day" bigint;--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON "api_key_days" TO signal_ingest_writer;
