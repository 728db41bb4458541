-- When a signal arrived. Rows of versions without "received_at" have the time in their transaction id, a UUIDv7.
CREATE FUNCTION signal_arrival(received_at timestamptz, transaction_id uuid) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(
  received_at,
  to_timestamp(('x' || left(replace(transaction_id::text, '-', ''), 12))::bit(48)::bigint / 1000.0)
);
--> statement-breakpoint
-- Drops the oldest partition of "signals" when every signal in it arrived more than p_days days ago (1 at least), and returns its name; null
-- when there is none. The order of arrival is that of the ids but for the length of a statement: the newest id tells. It gives up its lock
-- after two seconds, during which writes wait behind it.
CREATE FUNCTION drop_expired_partition(p_days integer) RETURNS text LANGUAGE plpgsql SECURITY DEFINER
SET lock_timeout = '2s' AS $$
DECLARE
  partition record;
  newest timestamptz;
BEGIN
  -- As make_signal_partitions: one after the other.
  PERFORM pg_advisory_xact_lock(7305502);
  SELECT name, to_id INTO partition FROM signal_partitions ORDER BY to_id LIMIT 1;
  -- The partition that is being filled stays, and so does one that may still get ids that were reserved before.
  IF NOT FOUND OR p_days < 1 OR partition.to_id > (SELECT last_value FROM signals_id_seq) THEN
    RETURN NULL;
  END IF;
  -- An empty one is as old as the first signal after it.
  SELECT arrival INTO newest FROM (
    (SELECT 1 AS place, signal_arrival(received_at, transaction_id) AS arrival FROM signals WHERE id < partition.to_id ORDER BY id DESC LIMIT 1)
    UNION ALL
    (SELECT 2, signal_arrival(received_at, transaction_id) FROM signals WHERE id >= partition.to_id ORDER BY id LIMIT 1)
  ) AS nearest ORDER BY place LIMIT 1;
  IF newest IS NULL OR newest >= now() - make_interval(days => p_days) THEN
    RETURN NULL;
  END IF;
  EXECUTE format('DROP TABLE %I', partition.name);
  RETURN partition.name;
END
$$;
--> statement-breakpoint
DO $$
BEGIN
  -- What it names must not be another's: no temporary table, and no other schema.
  EXECUTE format('ALTER FUNCTION drop_expired_partition SET search_path = %I, pg_temp', current_schema());
END
$$;
--> statement-breakpoint
REVOKE EXECUTE ON FUNCTION drop_expired_partition FROM PUBLIC;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION drop_expired_partition, signal_arrival TO signal_ingest_writer;
--> statement-breakpoint
GRANT DELETE ON "batches" TO signal_ingest_writer;
