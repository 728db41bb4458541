import { type SQL, sql } from "drizzle-orm"

/** The stored bytes, uncompressed, up to which a payload has at most 22 MB as text. */
const SMALL_BYTES = 2048

/**
 * Numbers that Postgres prints with more than 400 digits, and every 0, which can have up to 16,383 digits
 * after its point.
 */
const LONG_NUMBERS = "strict $.** ? (@ >= 1e400 || @ <= -1e400 || (@ > -1e-400 && @ < 1e-400))"

/**
 * The payload as text, since the driver's JSON parser would lose digits; null when it is longer than
 * `maxBytes`.
 *
 * Postgres prints each digit: the 8 bytes of 1e131071 become 131,072. A few such numbers need gigabytes
 * before the text could be measured, so a payload that may have many is measured by its numbers.
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
