-- In two steps: a column that is added with this default gives every row of before the transaction of the migration. These rows have 0,
-- so that the feed begins with them, in the order of their ids. Postgres keeps the 0 beside the table and rewrites no row.
ALTER TABLE "batches" ADD COLUMN "xid" xid8 DEFAULT '0' NOT NULL;--> statement-breakpoint
ALTER TABLE "batches" ALTER COLUMN "xid" SET DEFAULT pg_current_xact_id();--> statement-breakpoint
CREATE INDEX "batches_xid_transaction_id_idx" ON "batches" USING btree ("xid","transaction_id");
