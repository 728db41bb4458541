-- The group role of the service's database login: it may do what the service does, owns nothing, and changes no table.
-- A role belongs to the whole cluster, so another database's migration may have made it.
DO $$
BEGIN
  CREATE ROLE signal_ingest_writer NOLOGIN;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN
    NULL;
  WHEN insufficient_privilege THEN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'signal_ingest_writer') THEN
      RAISE EXCEPTION USING
        ERRCODE = 'insufficient_privilege',
        MESSAGE = 'The role signal_ingest_writer does not exist, and the migrator may not create it. '
          || 'Run "create role signal_ingest_writer nologin" as an administrator, then migrate again.';
    END IF;
END
$$;
--> statement-breakpoint
DO $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO signal_ingest_writer', current_schema());
END
$$;
--> statement-breakpoint
GRANT SELECT, INSERT ON "signals", "batches", "dead_letters" TO signal_ingest_writer;--> statement-breakpoint
GRANT UPDATE ("idempotency_key", "request_hash", "failed_count", "failures", "first_signal_id", "last_signal_id", "signal_ids") ON "batches" TO signal_ingest_writer;--> statement-breakpoint
GRANT UPDATE ("state") ON "dead_letters" TO signal_ingest_writer;--> statement-breakpoint
GRANT USAGE ON SEQUENCE "signals_id_seq" TO signal_ingest_writer;--> statement-breakpoint
GRANT EXECUTE ON FUNCTION store_signals_one_by_one TO signal_ingest_writer;
