ALTER TABLE "dead_letters" ADD COLUMN "code" text;--> statement-breakpoint
ALTER TABLE "dead_letters" ADD COLUMN "field" text;