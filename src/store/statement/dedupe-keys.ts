import { type SQL, sql } from "drizzle-orm"
import { dedupeKeys } from "../schema.ts"

/**
 * The part of a write that stores only the first signal of each dedupe_key: it inserts each key with the id
 * reserved for its signal, and waits for another write that holds the key. A key stays in the table forever,
 * even when its signal is deleted.
 *
 * Keys are locked in their own order, like in the SQL function and in the trigger for the former version, so
 * that there is no deadlock between writes that share keys.
 *
 * @param rows the rows of `input` that may be written
 */
export const takenKeys = (rows: SQL): SQL => sql`
    taken as (
      insert into ${dedupeKeys} (key_hash, signal_id)
      select dedupe_key_hash(dedupe_key), id from ${rows} where dedupe_key is not null order by dedupe_key, position
      on conflict do nothing
      returning signal_id
    )`

/** A condition beside `takenKeys`: the rows whose key is new. */
export const WITH_KEY_TAKEN = sql`where dedupe_key is null or id in (select signal_id from taken)`
