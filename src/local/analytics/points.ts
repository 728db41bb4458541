import type { Pool } from "pg"
import { COLUMNS_OF_A_KIND } from "./expressions.ts"

const INDEX_BYTES = 96
const BLOB_BYTES = 16_000

const columns = (name: "blob" | "double", type: string) =>
  Array.from({ length: COLUMNS_OF_A_KIND }, (_, index) => `${name}${index + 1} ${type}`).join(", ")

/**
 * The stand-in's table and functions. They are not a migration, because production does not have them. As in
 * ClickHouse, texts are ordered by bytes, division by zero is not an error, and a time is between 1970 and
 * 2106.
 */
const TABLE = `
  create schema if not exists local_analytics;
  create table if not exists local_analytics.points (
    timestamp timestamp(0) with time zone not null default date_trunc('second', now()),
    dataset text collate "C" not null,
    index1 text collate "C" not null default '',
    ${columns("blob", `text collate "C" not null default ''`)},
    ${columns("double", "float8 not null default 0")}
  );
  create index if not exists points_timestamp on local_analytics.points (timestamp);
  create or replace function local_analytics.divide(a float8, b float8) returns float8 immutable language sql as
    $$ select case when a = 'NaN' then a when b <> 0 then a / b when a = 0 then 'NaN' else sign(a) * 'Infinity'::float8 end $$;
  create or replace function local_analytics.datetime(seconds float8) returns timestamptz immutable language plpgsql as $$ begin
    if seconds < 0 or seconds >= 4294967296 then raise exception 'a time is before 1970 or after 2106' using errcode = '22008'; end if;
    return to_timestamp(seconds);
  end $$;
`

/**
 * Creates the table where it is missing, and deletes points that are older than Analytics Engine keeps them.
 */
export async function preparePoints(pool: Pool): Promise<void> {
  await pool.query(TABLE)
  await pool.query("delete from local_analytics.points where timestamp < now() - interval '3 months'")
}

/** Analytics Engine does not take this point; the message says why. */
export class RefusedPoint extends Error {}

interface Point {
  indexes: string[]
  blobs: string[]
  doubles: number[]
}

/** Stores a point with the present time. */
export async function writePoint(pool: Pool, dataset: string, point: unknown): Promise<void> {
  const { indexes, blobs, doubles } = readPoint(point)
  const values: [string, string | number][] = [
    ["dataset", dataset],
    ...indexes.map((index): [string, string] => ["index1", index]),
    ...blobs.map((blob, index): [string, string] => [`blob${index + 1}`, blob]),
    ...doubles.map((double, index): [string, number] => [`double${index + 1}`, double]),
  ]
  const names = values.map(([name]) => name)
  const parameters = values.map((_, index) => `$${index + 1}`)
  await pool.query(
    `insert into local_analytics.points (${names}) values (${parameters})`,
    values.map(([, value]) => value),
  )
}

/** Checks a point by the rules of writeDataPoint, which drops an invalid point silently in production. */
function readPoint(point: unknown): Point {
  if (typeof point !== "object" || point === null) throw new RefusedPoint("A point must be an object.")
  const { indexes, blobs, doubles } = point as Record<string, unknown>
  const read: Point = {
    indexes: list("indexes", indexes, 1, isText),
    blobs: list("blobs", blobs, COLUMNS_OF_A_KIND, isText),
    doubles: list(
      "doubles",
      doubles,
      COLUMNS_OF_A_KIND,
      (value) => typeof value === "number" && Number.isFinite(value),
    ),
  }
  if (bytesOf(read.indexes) > INDEX_BYTES)
    throw new RefusedPoint(`An index must have at most ${INDEX_BYTES} bytes.`)
  if (bytesOf(read.blobs) > BLOB_BYTES)
    throw new RefusedPoint(`The blobs must have at most ${BLOB_BYTES} bytes together.`)
  return read
}

/** Postgres cannot store a NUL character. */
const isText = (value: unknown) => typeof value === "string" && !value.includes("\0")

function list<Item>(name: string, value: unknown, most: number, fits: (item: unknown) => boolean): Item[] {
  const items: unknown = value ?? []
  if (!Array.isArray(items) || items.length > most)
    throw new RefusedPoint(`${name} must be a list of at most ${most}.`)
  if (!items.every(fits)) throw new RefusedPoint(`${name} has a value of the wrong kind.`)
  return items
}

const bytesOf = (texts: readonly string[]) => texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0)
