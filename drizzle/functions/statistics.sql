-- Count, mean score and newest signal of each conversation since a time: those with the most signals first, and before them a row without
-- a conversation, whose count is that of all signals. It counts at most p_most signals, the newest, and reads them from an index alone.
-- A function, since a statement of its own cannot have memory for the conversations of a month; executed as text, so that it is planned
-- for the times that are asked for. Volatile, since EXPLAIN is not allowed in other functions.
CREATE OR REPLACE FUNCTION signal_stats(p_since timestamptz, p_most integer, p_listed integer)
RETURNS TABLE (context_window_id text, signal_count bigint, avg_score float8, latest timestamptz)
LANGUAGE plpgsql VOLATILE SET work_mem = '32MB' AS $$
DECLARE
  plan json;
  counted bigint;
BEGIN
  -- Where the planner expects more signals than p_most, a count without conversations comes first: it refuses in a sixth of the time, and
  -- the dashboard asks every few seconds.
  EXECUTE 'EXPLAIN (FORMAT JSON) SELECT FROM signals WHERE time > $1' INTO plan USING p_since;
  IF (plan -> 0 -> 'Plan' ->> 'Plan Rows')::float8 > p_most THEN
    EXECUTE 'SELECT count(*) FROM (SELECT FROM signals WHERE time > $1 ORDER BY time DESC LIMIT $2) AS newer'
      INTO counted USING p_since, p_most;
    IF counted = p_most THEN
      RETURN QUERY SELECT NULL, counted, NULL::float8, NULL::timestamptz;
      RETURN;
    END IF;
  END IF;
  RETURN QUERY EXECUTE '
    WITH counted AS (
      SELECT context_window_id, signal_score, time FROM signals WHERE time > $1 ORDER BY time DESC LIMIT $2
    )
    SELECT context_window_id, count(*), sum(signal_score) / count(*), max(time)
    FROM counted
    GROUP BY GROUPING SETS ((context_window_id), ())
    ORDER BY grouping(context_window_id) DESC, count(*) DESC, context_window_id
    LIMIT $3' USING p_since, p_most, p_listed + 1;
END
$$;

GRANT EXECUTE ON FUNCTION signal_stats TO signal_ingest_writer;
