import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type LocalPostgres, startTemporaryPostgres } from "../../../../../src/local/postgres/postgres.ts"
import { queryAt } from "../../../../setup/rig.ts"
import { FIELDS, INSTANT, LOCAL, payloadOf, recordsOf } from "./converted.ts"

describe("a column of Postgres", () => {
  let postgres: LocalPostgres
  beforeAll(async () => {
    postgres = await startTemporaryPostgres()
  })
  afterAll(() => postgres?.stop())
  const rows = (query: string) => recordsOf({ kind: "sql", from: postgres.url, query })

  it("arrives in the payload as it is", async () => {
    const values = {
      bool: ["true", "true"],
      int2: ["-2::int2", "-2"],
      int8: ["9007199254740993", "9007199254740993"],
      oid: ["26::oid", "26"],
      float4: ["0.1::float4", "0.1"],
      float8: ["1e-7::float8", "1e-07"],
      large: ["1e20::float8", "1e+20"],
      nan: ["'NaN'::float8", '"NaN"'],
      infinity: ["'-Infinity'::numeric", '"-Infinity"'],
      decimal: ["1.50::numeric(10,2)", "1.50"],
      digits: ["12345678901234567890.1", "12345678901234567890.1"],
      body: ["'é'::text", '"é"'],
      padded: ["'a'::char(2)", '"a "'],
      bytes: ["'\\xfffe'::bytea", '"//4="'],
      day: ["date '2026-01-02'", '"2026-01-02"'],
      time_of_day: ["time '10:00:00.5'", '"10:00:00.5"'],
      stamp: ["timestamp '2026-01-02 03:04:05.678901'", LOCAL],
      stamptz: ["timestamptz '2026-01-02 03:04:05.678901+00'", INSTANT],
      whole: ["timestamptz '2026-01-02 03:04:05+00'", '"2026-01-02T03:04:05.000000Z"'],
      never: ["'infinity'::timestamptz", '"infinity"'],
      span: ["interval '1 month 2 days 3 seconds'", '"P1M2DT3S"'],
      id: ["'11111111-2222-3333-4444-555555555555'::uuid", '"11111111-2222-3333-4444-555555555555"'],
      json: ["'{\"n\": 12345678901234567890}'::json", '{"n":12345678901234567890}'],
      jsonb: ["'[1, null]'::jsonb", "[1,null]"],
      list: ["array[0.35, null]::numeric[]", "[0.35,null]"],
      texts: ["array['a,\"b', '']", '["a,\\"b",""]'],
      grid: ["array[[1,2],[3,4]]", "[[1,2],[3,4]]"],
      blobs: ["array['\\xfffe'::bytea]", '["//4="]'],
      flags: ["array[true, false]", "[true,false]"],
      span_of: ["int4range(1, 3)", '"[1,3)"'],
      net: ["'10.0.0.1'::inet", '"10.0.0.1"'],
      int4: ["-4", "-4"],
      real_infinity: ["'Infinity'::float4", '"Infinity"'],
      zero: ["0::numeric(10,3)", "0.000"],
      tiny: ["1e-30::numeric", "0.000000000000000000000000000001"],
      varchar: ["'é'::varchar(9)", '"é"'],
      name: ["'a'::name", '"a"'],
      character: [`'a'::"char"`, '"a"'],
      empty_bytes: ["''::bytea", '""'],
      timetz: ["timetz '10:00:00+02'", '"10:00:00+02"'],
      before_christ: ["timestamp '0044-03-15 12:00:00 BC'", '"0044-03-15 12:00:00 BC"'],
      span_back: ["interval '-1 day 02:00'", '"P-1DT2H"'],
      money: ["1.5::money", '"$1.50"'],
      bits: ["B'101'", '"101"'],
      varbits: ["B'101'::varbit", '"101"'],
      xml: ["'<a/>'::xml", '"<a/>"'],
      point: ["point(1, 2)", '"(1,2)"'],
      cidr: ["'10.0.0.0/8'::cidr", '"10.0.0.0/8"'],
      mac: ["'08:00:2b:01:02:03'::macaddr", '"08:00:2b:01:02:03"'],
      words: ["to_tsvector('simple', 'a b')", `"'a':1 'b':2"`],
      path: ["jsonpath '$.a'", '"$.\\"a\\""'],
      record: ["row(1, 'a,b')", '"(1,\\"a,b\\")"'],
      level: ["'low'::level", '"low"'],
      share: ["0.50::share", "0.50"],
      vector: ["'1 2'::int2vector", '"1 2"'],
      jsons: ["array['{\"n\": 12345678901234567890}'::jsonb]", '[{"n":12345678901234567890}]'],
      stamps: ["array[timestamptz '2026-01-02 03:04:05.678901+00']", `[${INSTANT}]`],
      days: ["array[date '2026-01-02']", '["2026-01-02"]'],
      levels: ["array['low', 'high']::level[]", '["low","high"]'],
      shares: ["array[0.50]::share[]", "[0.50]"],
      spans: ["array[int4range(1, 3)]", '["[1,3)"]'],
      nets: ["array['10.0.0.0/8'::cidr]", '["10.0.0.0/8"]'],
      boxes: ["array[box '((1,1),(0,0))']", '"{(1,1),(0,0)}"'],
      from_zero: ["'[0:1]={1,2}'::int[]", "[1,2]"],
      none: ["'{}'::text[]", "[]"],
      nan_list: ["array['NaN'::float8, 1.5]", '["NaN",1.5]'],
    }
    await queryAt(
      postgres.url,
      "create type level as enum ('low', 'high'); create domain share as numeric(3,2)",
    )
    const columns = Object.entries(values).map(([name, [sql]]) => `${sql} as "${name}"`)
    const [row] = await rows(`select 'c' as context_window_id, ${columns.join(", ")}`)
    expect(payloadOf(row)).toEqual(
      Object.fromEntries(Object.entries(values).map(([name, [, json]]) => [name, json])),
    )
  })

  it("gets the type of its field", async () => {
    const [row] = await rows(
      `select 12345678901234567890123::numeric as context_window_id, 76561198000000001 as user_id, 2.30 as agent_id,
       1.0::numeric as signal_score, '1.00000000000' as emotional_tone, true as escalate_flag,
       extract(epoch from timestamptz '2025-01-15 10:00:00+00') as timestamp, 'x'::bytea as raw_content,
       '{"n": 1}'::text as payload`,
    )
    expect(JSON.parse(row ?? "")).toEqual({ ...FIELDS, payload: { n: 1 } })
  })

  it("has one JSON type in every row", async () => {
    const found = await rows(
      "select 'c' as context_window_id, n::numeric(10,2) as price from unnest(array[19.50, 19.55, 20, 1.5, 0.10]) as n",
    )
    expect(found.map((row) => payloadOf(row).price)).toEqual(["19.50", "19.55", "20.00", "1.50", "0.10"])
  })

  it.each([
    [
      "select 'c' as context_window_id, 'first' as raw_content, 'second' as raw_content",
      'The query has two columns named "raw_content".',
    ],
    ["select 1 as room where false", "The query has no column for context_window_id."],
    [
      "select 'c' as context_window_id, now() as time",
      'The query has a column "time" and none for timestamp',
    ],
  ])("is refused where every row would be wrong: %s", async (query, sentence) => {
    await expect(rows(query)).rejects.toThrow(sentence)
  })

  it("must be the only one of its field", async () => {
    const query = "select 'c' as context_window_id, 'a' as raw_content, 'b' as body"
    const map = { body: "raw_content" }
    await expect(recordsOf({ kind: "sql", from: postgres.url, query, map })).rejects.toThrow(
      'The query has two columns for raw_content: "raw_content" and "body".',
    )
  })
})
