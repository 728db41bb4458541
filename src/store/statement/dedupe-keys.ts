import { type SQL, sql } from "drizzle-orm"
import { dedupeKeys } from "../schema.ts"

/**
 * The part of a write that lets only the first signal with a dedupe_key in: it enters each key with the id reserved for its signal, and
 * waits for another write that holds the key. A key stays there for ever, whatever becomes of its signal.
 *
 * Keys are taken in their own order, as the SQL function and the trigger for the former version take them, so that two writes that share
 * keys can't deadlock.
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

/** The rows whose key was not taken before, as a condition beside `takenKeys`. */
export const WITH_KEY_TAKEN = sql`where dedupe_key is null or id in (select signal_id from taken)`
