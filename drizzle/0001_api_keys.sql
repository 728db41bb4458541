CREATE TABLE "api_keys" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"sha256" text NOT NULL,
	"hint" text NOT NULL,
	"scopes" text[] NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"created_by" text NOT NULL,
	"expires_at" timestamp with time zone DEFAULT 'infinity' NOT NULL,
	"revoked_at" timestamp with time zone,
	"revoked_by" text,
	"rotated_from" uuid,
	"last_used_on" date
);
--> statement-breakpoint
CREATE UNIQUE INDEX "api_keys_sha256_idx" ON "api_keys" USING btree ("sha256");--> statement-breakpoint
CREATE UNIQUE INDEX "api_keys_name_idx" ON "api_keys" USING btree ("name") WHERE "api_keys"."rotated_from" is null;--> statement-breakpoint
CREATE INDEX "api_keys_live_idx" ON "api_keys" USING btree ("expires_at") WHERE "api_keys"."revoked_at" is null;--> statement-breakpoint
GRANT SELECT, INSERT, UPDATE ON "api_keys" TO signal_ingest_writer;
