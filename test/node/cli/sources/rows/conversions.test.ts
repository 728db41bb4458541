import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { useFolder } from "../../../../setup/hooks/rig.ts"
import { FIELDS, INSTANT, LOCAL, payloadOf, recordsOf } from "./converted.ts"

/** The files of other programs, which write.py writes. */
const TABLES = join(import.meta.dirname, "tables")

const parquet = (name: string) => recordsOf({ kind: "parquet", path: join(TABLES, name) })

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
      large_binary: '"YWJj"',
      binary_view: '"YWJj"',
      string_view: '"a"',
      small_decimal: "0.35",
      medium_decimal: "-0.01",
      scaled_decimal: "1.500",
      time32_s: '"10:00:00"',
      stamp_s: '"2026-01-02T03:04:05.000000"',
      before_1970: '"1969-12-31T23:59:59.999999"',
      // The file has no unit for it.
      duration: "1000000",
      json: '{"n":12345678901234567890}',
      uuid: '"11111111-2222-3333-4444-555555555555"',
      dictionary_of_ints: "7",
      dictionary_of_bytes: '"YWJj"',
      large_list: "[1]",
      fixed_list: "[1,2]",
      list_view: "[1]",
      structs: `[{"t":${INSTANT},"d":0.35}]`,
      map_of_structs: '{"k":{"a":1}}',
      list_of_maps: '[{"a":1}]',
      large_list_view: "[1]",
      bool8: "1",
      tensor: "[1,2]",
      opaque: "1",
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
      smallint: "-16",
      integer: "-32",
      utinyint: "255",
      usmallint: "65535",
      uinteger: "4294967295",
      // DuckDB writes them as doubles.
      hugeint: "7",
      uhugeint: "7",
      small_decimal: "0.35",
      medium_decimal: "-19.9900",
      stamp_s: '"2026-01-02T03:04:05.000000"',
      stamp_ms: '"2026-01-02T03:04:05.678000"',
      stamp_ns: LOCAL,
      // In UTC, without a zone: programs mark local times as UTC, too.
      timetz: '"08:00:00.5"',
      time_ns: '"10:00:00.5"',
      bit: '"101"',
      array: "[1,2]",
      bignum: '"12345678901234567890123"',
      variant: "7",
      // Its tag has no name in the file.
      either: '{"element1":0,"num":7}',
      dates: '["2026-01-02"]',
      nested: `{"t":${LOCAL},"d":0.35}`,
      lists: '{"7":[1,2]}',
      stamptz_ns: INSTANT,
      tuple: '{"element1":1,"element2":"x"}',
      // Well-known binary.
      geometry: '"AQEAAAAAAAAAAADwPwAAAAAAAABA"',
      type: '"INTEGER"',
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
      int8: "-8",
      int16: "-16",
      int32: "-32",
      uint8: "255",
      uint16: "65535",
      uint32: "4294967295",
      float16: "0.5",
      float64: "0.1",
      enum: '"low"',
      array: "[1,2]",
      stamp_ms: '"2026-01-02T03:04:05.678000"',
      stamp_zone: INSTANT,
      structs: `[{"a":${LOCAL}}]`,
      // The file has only 16 bytes without a type.
      int128: '"+f///////////////////w=="',
      uint128: '"BwAAAAAAAAAAAAAAAAAAAA=="',
      map: '{"k":1}',
      extension: "1",
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
