CREATE TABLE "subscriptions" (
	"id" uuid PRIMARY KEY NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"created_by" text NOT NULL,
	"name" text NOT NULL,
	"slot" smallint NOT NULL,
	"format" text NOT NULL,
	"filter" jsonb NOT NULL,
	"state" text DEFAULT 'active' NOT NULL,
	"url" text NOT NULL,
	"secret" text NOT NULL,
	"previous_secret" text,
	"previous_secret_until" timestamp with time zone,
	"position_xid" "xid8" NOT NULL,
	"position_transaction_id" uuid NOT NULL,
	"position_id" bigint,
	"pending" jsonb,
	"failed_attempts" integer DEFAULT 0 NOT NULL,
	"failing_since" timestamp with time zone,
	"next_attempt_at" timestamp with time zone,
	"delivered_signals" bigint DEFAULT 0 NOT NULL,
	"answers" jsonb DEFAULT '[]'::jsonb NOT NULL,
	"is_quick" boolean DEFAULT true NOT NULL,
	"lease" uuid,
	"lease_until" timestamp with time zone,
	CONSTRAINT "subscriptions_slot_range" CHECK ("subscriptions"."slot" between 1 and 100)
);
--> statement-breakpoint
CREATE UNIQUE INDEX "subscriptions_name_idx" ON "subscriptions" USING btree ("name");--> statement-breakpoint
CREATE UNIQUE INDEX "subscriptions_slot_idx" ON "subscriptions" USING btree ("slot");--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE, DELETE ON "subscriptions" TO signal_ingest_writer;
