import { type SQL, sql } from "drizzle-orm"

/** A payload that is stored in so many bytes, uncompressed, spells out to 22 MB at most. */
const SMALL_BYTES = 2048

/** Numbers that Postgres prints with more than 400 digits, and every 0, which has up to 16,383 of them after its point. */
const LONG_NUMBERS = "strict $.** ? (@ >= 1e400 || @ <= -1e400 || (@ > -1e-400 && @ < 1e-400))"

/**
 * The payload as text, since the driver's JSON parser would lose digits; null where it is longer than `maxBytes`.
 *
 * Postgres prints each digit: 8 bytes that hold 1e131071 become 131,072. Few of them take a backend to gigabytes before anything could
 * measure the text, so that a payload that may hold many is judged by its numbers.
 */
export const payloadText = (maxBytes: number): SQL => sql`(
  select case when octet_length(text) <= ${maxBytes}::int4 then text end
  from (
    select case
      when pg_column_compression(payload) is null and pg_column_size(payload) <= ${SMALL_BYTES}::int4 then payload::text
      when (
        select coalesce(sum(case when abs(number) < 1e400 then 0 when abs(number) < 1e4000 then 4000 else 131072 end + scale(number)), 0)
        -- Not jsonb_path_query: its cost is quadratic.
        from jsonb_array_elements(jsonb_path_query_array(payload, ${sql.raw(`'${LONG_NUMBERS}'`)})) as element,
          lateral (select element::numeric) as long (number)
      ) <= ${maxBytes}::int4 then payload::text
    end as text
    offset 0
  ) as spelled
)`
