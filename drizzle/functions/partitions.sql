-- How many ids a partition of "signals" holds. A change applies to new partitions.
CREATE OR REPLACE FUNCTION signal_partition_rows() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 10000000;

-- The partitions of "signals" with their ids, from inclusive (null: no bound), to exclusive.
CREATE OR REPLACE VIEW signal_partitions AS
SELECT relname::text AS name, nullif(bounds[1], 'MINVALUE')::bigint AS from_id, bounds[2]::bigint AS to_id
FROM pg_inherits
JOIN pg_class ON pg_class.oid = inhrelid
CROSS JOIN regexp_match(pg_get_expr(relpartbound, pg_class.oid), 'FROM \(''?([-\d]+|MINVALUE)''?\) TO \(''?([-\d]+)''?\)') AS bounds
WHERE inhparent = to_regclass('signals') AND NOT inhdetachpending;

-- Makes partitions of "signals" as far as the next p_ids ids (1,000,000 at most) and as many more as a partition holds. It takes no lock
-- that a read or a write of "signals" waits for. Returns the number of new partitions.
CREATE OR REPLACE FUNCTION make_signal_partitions(p_ids bigint DEFAULT 0) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET lock_timeout = '2s' AS $$
DECLARE
  size bigint := signal_partition_rows();
  newest_id bigint;
  last_id bigint;
  start_id bigint;
  end_id bigint;
  made integer := 0;
BEGIN
  -- One caller after the other, so that each sees what the one before has made.
  PERFORM pg_advisory_xact_lock(7305502);
  SELECT last_value INTO newest_id FROM signals_id_seq;
  last_id := newest_id + least(greatest(p_ids, 0), 1000000) + size;

  -- Ids that were reserved and never stored need no partition.
  SELECT greatest(coalesce(max(to_id), 0), newest_id - newest_id % size) INTO start_id FROM signal_partitions;
  WHILE start_id <= last_id LOOP
    end_id := (start_id / size + 1) * size;
    EXECUTE format(
      'CREATE TABLE %I (LIKE signals INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION)',
      'signals_' || start_id
    );
    -- Attached, it locks less than a table that is created as a partition.
    EXECUTE format(
      'ALTER TABLE signals ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', 'signals_' || start_id, start_id, end_id
    );
    start_id := end_id;
    made := made + 1;
  END LOOP;
  RETURN made;
END
$$;

-- Drops the oldest partition of "signals" when every signal in it arrived more than p_days days ago (1 at least), and returns its name;
-- null when there is none. Ids rise with arrival to within one statement, so the newest id decides. It gives up its lock after two
-- seconds, during which writes wait behind it.
CREATE OR REPLACE FUNCTION drop_expired_partition(p_days integer) RETURNS text LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET lock_timeout = '2s' AS $$
DECLARE
  partition record;
  newest timestamptz;
BEGIN
  -- The lock of make_signal_partitions.
  PERFORM pg_advisory_xact_lock(7305502);
  SELECT name, to_id INTO partition FROM signal_partitions ORDER BY to_id LIMIT 1;
  -- The partition that is being filled stays, and so does one that may still get ids that were reserved before.
  IF NOT FOUND OR p_days < 1 OR partition.to_id > (SELECT last_value FROM signals_id_seq) THEN
    RETURN NULL;
  END IF;
  -- An empty one is as old as the first signal after it.
  SELECT arrival INTO newest FROM (
    (SELECT 1 AS rank, received_at AS arrival FROM signals WHERE id < partition.to_id ORDER BY id DESC LIMIT 1)
    UNION ALL
    (SELECT 2, received_at FROM signals WHERE id >= partition.to_id ORDER BY id LIMIT 1)
  ) AS nearest ORDER BY rank LIMIT 1;
  IF newest IS NULL OR newest >= now() - make_interval(days => p_days) THEN
    RETURN NULL;
  END IF;
  EXECUTE format('DROP TABLE %I', partition.name);
  RETURN partition.name;
END
$$;

REVOKE EXECUTE ON FUNCTION make_signal_partitions, drop_expired_partition FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_signal_partitions, drop_expired_partition TO signal_ingest_writer;
GRANT SELECT ON signal_partitions TO signal_ingest_writer;
