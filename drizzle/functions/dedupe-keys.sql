-- Only this function turns a dedupe_key into what is stored of it.
CREATE OR REPLACE FUNCTION dedupe_key_hash(dedupe_key text) RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
RETURN encode(substr(sha256(convert_to(dedupe_key, 'UTF8')), 1, 16), 'hex')::uuid;

-- The id under which each key is taken, in the order of the keys. It is volatile: it also sees the keys for which the calling statement waited.
CREATE OR REPLACE FUNCTION signal_ids_of_keys(p_dedupe_keys text[]) RETURNS bigint[] LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RETURN ARRAY(
    SELECT signal_id FROM unnest(p_dedupe_keys) WITH ORDINALITY AS sent (key, position)
    LEFT JOIN dedupe_keys ON key_hash = dedupe_key_hash(key) ORDER BY position
  );
END
$$;

GRANT EXECUTE ON FUNCTION signal_ids_of_keys TO signal_ingest_writer;

-- The next two functions apply what the source of a signal does with it later. The service may change a row only through them, by its
-- dedupe_key. They lock keys and rows in the order of the keys, as every write does, so that none of them can deadlock.
-- Each statement in them sees what was committed before it: it waits for a write that holds a key, and then sees its signal.

-- Keeps each key, and deletes the signal that has it. A free key is taken without a signal, so that a later signal with it is a
-- duplicate. Returns the number of deleted signals.
CREATE OR REPLACE FUNCTION delete_signals_by_key(p_dedupe_keys text[]) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
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

-- Gives the signal that has each key these values, unless it was edited at that time or later. A deleted signal stays deleted.
-- Returns the number of changed signals.
CREATE OR REPLACE FUNCTION edit_signals_by_key(
  p_dedupe_key text[], p_edited_at timestamptz[], p_raw_content text[], p_agent_id text[], p_user_id text[], p_payload text[]
) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
  i integer;
  holder bigint;
  edited integer := 0;
BEGIN
  FOR i IN SELECT at FROM generate_subscripts(p_dedupe_key, 1) AS at ORDER BY p_dedupe_key[at], p_edited_at[at] DESC LOOP
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

REVOKE EXECUTE ON FUNCTION delete_signals_by_key, edit_signals_by_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION delete_signals_by_key, edit_signals_by_key TO signal_ingest_writer;
