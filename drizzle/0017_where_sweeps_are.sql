CREATE TABLE "sweep_positions" (
	"name" text PRIMARY KEY NOT NULL,
	"position" uuid NOT NULL
);
--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE ON "sweep_positions" TO signal_ingest_writer;
