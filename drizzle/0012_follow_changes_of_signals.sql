-- Both functions follow what the source of a signal does with it later. The service may change a row only through them, by its dedupe_key.
-- They take the locks of keys and rows in the order of the keys, as every write does, so that none of them can deadlock.
-- Each statement in them sees what was committed before it: a write that held a key is waited for, and then its signal is there.

-- Keeps each key, and deletes the signal that has it. A key that is free is taken without a signal, so that one that comes later is a
-- duplicate. Returns how many signals it deleted.
CREATE FUNCTION delete_signals_by_key(p_dedupe_keys text[]) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  hash uuid;
  holder bigint;
  deleted integer := 0;
BEGIN
  FOR hash IN SELECT dedupe_key_hash(key) FROM (SELECT DISTINCT unnest(p_dedupe_keys) AS key) AS sent ORDER BY key LOOP
    INSERT INTO dedupe_keys (key_hash, signal_id) VALUES (hash, nextval('signals_id_seq')) ON CONFLICT DO NOTHING;
    CONTINUE WHEN FOUND;
    SELECT signal_id INTO holder FROM dedupe_keys WHERE key_hash = hash;
    DELETE FROM signals WHERE id = holder;
    IF FOUND THEN
      deleted := deleted + 1;
    END IF;
  END LOOP;
  RETURN deleted;
END
$$;
--> statement-breakpoint
-- Gives the signal that has each key these values, unless it was edited at that time or later. A signal that is gone stays gone.
-- Returns how many signals it changed.
CREATE FUNCTION edit_signals_by_key(
  p_dedupe_key text[], p_edited_at timestamptz[], p_raw_content text[], p_agent_id text[], p_user_id text[], p_payload text[]
) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  i integer;
  holder bigint;
  edited integer := 0;
BEGIN
  FOR i IN SELECT place FROM generate_subscripts(p_dedupe_key, 1) AS place ORDER BY p_dedupe_key[place], p_edited_at[place] DESC LOOP
    SELECT signal_id INTO holder FROM dedupe_keys WHERE key_hash = dedupe_key_hash(p_dedupe_key[i]);
    UPDATE signals SET
      edited_at = p_edited_at[i], raw_content = p_raw_content[i], agent_id = p_agent_id[i], user_id = p_user_id[i],
      payload = p_payload[i]::jsonb
    WHERE id = holder AND (edited_at IS NULL OR edited_at < p_edited_at[i]);
    IF FOUND THEN
      edited := edited + 1;
    END IF;
  END LOOP;
  RETURN edited;
END
$$;
--> statement-breakpoint
-- They run as their owner, so the names in them must not be looked up where a caller says.
DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION delete_signals_by_key SET search_path = %I, pg_temp', current_schema());
  EXECUTE format('ALTER FUNCTION edit_signals_by_key SET search_path = %I, pg_temp', current_schema());
END
$$;
--> statement-breakpoint
REVOKE EXECUTE ON FUNCTION delete_signals_by_key, edit_signals_by_key FROM PUBLIC;
--> statement-breakpoint
GRANT EXECUTE ON FUNCTION delete_signals_by_key, edit_signals_by_key TO signal_ingest_writer;
