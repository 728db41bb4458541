CREATE TABLE "dead_letters" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "dead_letters_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"transaction_id" uuid NOT NULL,
	"index" integer NOT NULL,
	"source" text NOT NULL,
	"caller" text NOT NULL,
	"reason" text NOT NULL,
	"record" text NOT NULL,
	"replay_transaction_id" uuid NOT NULL,
	"state" text DEFAULT 'waiting' NOT NULL
);
--> statement-breakpoint
ALTER TABLE "batches" ADD COLUMN "reason" text;--> statement-breakpoint
CREATE UNIQUE INDEX "dead_letters_transaction_id_index_idx" ON "dead_letters" USING btree ("transaction_id","index");--> statement-breakpoint
CREATE INDEX "dead_letters_state_id_idx" ON "dead_letters" USING btree ("state","id");