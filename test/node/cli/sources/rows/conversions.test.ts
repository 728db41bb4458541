import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { openSource, type SourceRequest } from "../../../../../src/cli/sources/open.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../../../../../src/local/postgres/postgres.ts"
import { useFolder } from "../../../../setup/hooks/rig.ts"

/** The files of other programs, which write.py writes. */
const TABLES = join(import.meta.dirname, "tables")

/** Every record as JSON, in which each number keeps its digits. */
async function recordsOf(request: SourceRequest): Promise<string[]> {
  const { source } = await openSource(request)
  const records: string[] = []
  for await (const record of source.records())
    records.push("signal" in record ? JSON.stringify(record.signal) : `${JSON.stringify(record)}`)
  return records
}

/** The values of the payload of a row, as JSON. */
function payloadOf(record: string | undefined): Record<string, string> {
  const names: Record<string, string> = {}
  const { payload } = JSON.parse(record ?? "{}", (_, value, context?: { source?: string }) => {
    if (typeof value === "number") return JSON.rawJSON(context?.source ?? String(value))
    return value
  }) as { payload: object }
  for (const [name, value] of Object.entries(payload)) names[name] = JSON.stringify(value)
  return names
}

const parquet = (name: string) => recordsOf({ kind: "parquet", path: join(TABLES, name) })

const INSTANT = '"2026-01-02T03:04:05.678901Z"'
const LOCAL = '"2026-01-02T03:04:05.678901"'
const DECIMALS = {
  decimal32: "0.35",
  decimal64: "-19.9900",
  decimal128: "12345678901234567890.1234567890",
  decimal256: "123456789012345678901234567890",
  decimals: "[0.35]",
}

describe("a column in the payload", () => {
  it("arrives from pyarrow's Parquet as it is", async () => {
    const [row, empty] = await parquet("pyarrow.parquet")
    expect(payloadOf(row)).toEqual({
      bool: "true",
      int8: "-8",
      int16: "-16",
      int32: "-32",
      int64: "9007199254740993",
      uint8: "255",
      uint16: "65535",
      uint32: "4294967295",
      uint64: "18446744073709551615",
      half: "0.5",
      float: "0.1",
      double: "0.1",
      nan: '"NaN"',
      infinity: '"-Infinity"',
      ...DECIMALS,
      string: '"é\uFEFF"',
      large_string: '"a"',
      dictionary: '"a"',
      binary: '"//4A"',
      ascii: '"YWJj"',
      fixed: '"YWJj"',
      date32: '"2026-01-02"',
      date64: '"2026-01-02"',
      time32: '"10:00:00.5"',
      time64_us: '"10:00:00.5"',
      time64_ns: '"10:00:00.5"',
      stamp_ms: '"2026-01-02T03:04:05.678000Z"',
      stamp_us: INSTANT,
      stamp_ns: INSTANT,
      stamp_local: LOCAL,
      stamp_zone: INSTANT,
      list: "[1,null,9007199254740993]",
      nested: '[["a"],[],null]',
      struct: '{"a":1,"b":"YWJj"}',
      map: '{"__proto__":1,"b":null}',
      map_of_ints: '{"7":"a"}',
    })
    expect(empty).toBe('{"context_window_id":"b"}')
  })

  it("keeps decimals that are stored as integers, and times of 96 bits", async () => {
    expect(payloadOf((await parquet("pyarrow-decimal-integers.parquet"))[0])).toEqual(DECIMALS)
    expect(payloadOf((await parquet("pyarrow-int96.parquet"))[0])).toEqual({ stamp: INSTANT })
  })

  it("arrives from DuckDB's Parquet as it is", async () => {
    expect(payloadOf((await parquet("duckdb.parquet"))[0])).toEqual({
      bool: "true",
      tinyint: "-8",
      bigint: "9007199254740993",
      ubigint: "18446744073709551615",
      huge: "12345678901234567890123456789012345678",
      float: "0.1",
      double: "0.1",
      nan: '"NaN"',
      decimal: "19.99",
      varchar: '"é"',
      blob: '"//4="',
      date: '"2026-01-02"',
      time_of_day: '"10:00:00.5"',
      stamp: LOCAL,
      stamptz: INSTANT,
      interval: '"P1M2DT3S"',
      uuid: '"11111111-2222-3333-4444-555555555555"',
      json: '{"n":12345678901234567890}',
      list: "[0.35]",
      struct: '{"a":1,"b":"x"}',
      map: '{"k":1}',
      enum: '"low"',
    })
  })

  it("arrives from Polars' Parquet as it is; a duration as its whole number", async () => {
    expect(payloadOf((await parquet("polars.parquet"))[0])).toEqual({
      bool: "true",
      int64: "9007199254740993",
      uint64: "18446744073709551615",
      float32: "0.1",
      nan: '"NaN"',
      decimal: "19.99",
      string: '"é"',
      binary: '"//4="',
      date: '"2026-01-02"',
      time_of_day: '"10:00:00.5"',
      datetime: LOCAL,
      duration: "1000000",
      list: "[1,2]",
      struct: '{"a":1,"b":"x"}',
      categorical: '"low"',
    })
  })

  it.each(["none", "snappy", "gzip", "brotli", "zstd", "lz4"])("is read with the codec %s", async (codec) => {
    expect(payloadOf((await parquet(`codec-${codec}.parquet`))[0])).toEqual({ n: "7" })
  })
})

describe("a bad cell", () => {
  it.each([
    ["bad-text.parquet", "raw_content: the bytes are not UTF-8 text"],
    ["bad-time.parquet", "far: the date is outside the years 1 to 9999"],
  ])("fails its row, and no other: %s", async (name, error) => {
    const [first, second, third] = await parquet(name)
    expect(JSON.parse(second ?? "")).toMatchObject({ error, kept: { _row: { context_window_id: "b" } } })
    expect([first, third]).toEqual([
      expect.stringContaining('"context_window_id":"a"'),
      expect.stringContaining('"context_window_id":"c"'),
    ])
  })
})

const FIELDS = {
  context_window_id: "12345678901234567890123",
  user_id: "76561198000000001",
  agent_id: "2.30",
  signal_score: 1,
  emotional_tone: 1,
  escalate_flag: 1,
  timestamp: 1736935200,
  raw_content: "x",
}

describe("a column of a field", () => {
  const folder = useFolder()
  const write = async (name: string, text: string) => {
    const path = join(folder.path, name)
    await writeFile(path, text)
    return path
  }

  it("gets the field's type from Parquet; NaN and Infinity fail their rows", async () => {
    const [first, ...others] = await parquet("fields.parquet")
    expect(JSON.parse(first ?? "")).toEqual(FIELDS)
    expect(others.map((record) => JSON.parse(record).error)).toEqual([
      "signal_score: NaN is no number that JSON can hold",
      "signal_score: Infinity is no number that JSON can hold",
    ])
  })

  it("gets the same from CSV and from JSON lines", async () => {
    const row = "12345678901234567890123,76561198000000001,2.30,1.0,1.00000000000,True,1736935200,x"
    const path = await write("in.csv", `${Object.keys(FIELDS).join(",")}\n${row}\n`)
    expect(JSON.parse((await recordsOf({ kind: "csv", path, delimiter: "," }))[0] ?? "")).toEqual(FIELDS)
    const lines = await write(
      "in.jsonl",
      `{"context_window_id":12345678901234567890123,"user_id":76561198000000001,"agent_id":"2.30","signal_score":"1.0","emotional_tone":1.00000000000,"escalate_flag":true,"timestamp":"1736935200","raw_content":"x"}\n`,
    )
    expect(JSON.parse((await recordsOf({ kind: "jsonl", path: lines }))[0] ?? "")).toEqual(FIELDS)
  })

  it.each([
    ["1736935200", 1736935200],
    ["1736935200123", 1736935200123],
    ["1736935200.5", 1736935200.5],
    ["-1", -1],
    ["20260102", "20260102"],
    ["2026-01-02", "2026-01-02"],
  ])("is a time or a Unix epoch in a CSV: %s", async (cell, value) => {
    const path = await write("in.csv", `context_window_id,timestamp\nc,${cell}\n`)
    expect(await recordsOf({ kind: "csv", path, delimiter: "," })).toEqual([
      JSON.stringify({ context_window_id: "c", timestamp: value }),
    ])
  })

  it.each([
    ["0x1", "0x1"],
    ["NaN", "NaN"],
    ["1e999", "1e999"],
    [" 0.5", 0.5],
    [".5", 0.5],
  ])("is a number only where people write one: %s", async (cell, value) => {
    const path = await write("in.csv", `context_window_id,signal_score\nc,${cell}\n`)
    expect(JSON.parse((await recordsOf({ kind: "csv", path, delimiter: "," }))[0] ?? "").signal_score).toBe(
      value,
    )
  })

  it("keeps a number of JSON lines that no double holds, so that the service refuses it", async () => {
    const path = await write("in.jsonl", '{"context_window_id":"c","signal_score":1e400}\n')
    expect(await recordsOf({ kind: "jsonl", path })).toEqual([
      '{"context_window_id":"c","signal_score":1e400}',
    ])
  })

  it("has no value where the payload of a CSV is null, and fails the row where a column has its name", async () => {
    const path = await write("in.csv", 'context_window_id,payload,k\nc,null,\nc,"{""k"":1}",2\n')
    const [first, second] = await recordsOf({ kind: "csv", path, delimiter: "," })
    expect(first).toBe('{"context_window_id":"c"}')
    expect(JSON.parse(second ?? "").error).toBe('payload has a value "k", and so has a column')
  })
})

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
    }
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
