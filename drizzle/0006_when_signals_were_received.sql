-- In two steps: a column that is added with its default gives every row of before the time of the migration. These stay null.
ALTER TABLE "signals" ADD COLUMN "received_at" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "signals" ALTER COLUMN "received_at" SET DEFAULT now();
