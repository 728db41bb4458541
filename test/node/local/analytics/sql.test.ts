import { beforeAll, beforeEach, describe, expect, it } from "vitest"
import { startAnalytics } from "../../../../src/local/analytics/server.ts"
import { SQL_PATH, useAnalytics } from "../../../setup/hooks/analytics.ts"
import { randomPoints, seed } from "./points.ts"

const analytics = useAnalytics()
const { answer, ask, data, empty, inPostgres, post, write } = analytics

const DATASET = "signal_ingest_requests"

/** The values of the one row of a query over no table's rows in particular. */
const values = async (expressions: string) =>
  Object.values((await data(`SELECT ${expressions} FROM ${DATASET}`))[0] ?? {})

describe("an answer", () => {
  beforeAll(empty)

  it("names its columns and their types, and counts the rows that LIMIT left out", async () => {
    await seed(analytics, randomPoints(500))
    const query = `SELECT blob6 AS source, min(timestamp) AS first, count() AS points, sum(double1), max(double1) > 3 AS much
      FROM ${DATASET} GROUP BY source ORDER BY source LIMIT 2 FORMAT JSON`
    expect(await answer(query)).toEqual({
      meta: [
        { name: "source", type: "String" },
        { name: "first", type: "DateTime" },
        { name: "points", type: "UInt64" },
        { name: "sum(double1)", type: "Float64" },
        { name: "much", type: "UInt8" },
      ],
      // By their bytes, as ClickHouse orders texts: capitals first.
      data: ["B", "Slack"].map((source) => ({
        source,
        first: expect.stringMatching(/^2025-10-09 0\d:\d\d:\d\d$/),
        points: expect.stringMatching(/^\d+$/),
        "sum(double1)": expect.any(Number),
        much: 1,
      })),
      rows: 2,
      rows_before_limit_at_least: 5,
    })
  })

  it("knows only datasets that have a point, and the service's own", async () => {
    expect((await write({ doubles: [4] }, "another")).status).toBe(204)
    expect(await data("SELECT sum(double1) AS sum FROM another")).toEqual([{ sum: 4 }])
    await expect(answer("SELECT 1 AS one FROM nothing")).rejects.toThrow(
      "The local Analytics Engine does not know the dataset nothing (at character 22).",
    )
  })
})

describe("an expression", () => {
  beforeAll(async () => {
    await empty()
    for (const [blob, double] of [
      ["a", 1],
      ["a", 2],
      ["B", 3],
      ["é", 4],
      ["", 10],
    ] as const)
      await write({ indexes: ["i"], blobs: [blob], doubles: [double, 0] })
  })

  it.each([
    ["count(), COUNT()", ["5", "5"]],
    ["sum(double1), avg(double1), min(double1), max(double1)", [20, 4, 1, 10]],
    ["countIf(blob1 = 'a'), sumIf(double1, blob1 != 'a'), sumIf(double1, blob1 = 'none')", ["2", 17, 0]],
    ["min(blob1), max(blob1)", ["", "é"]],
    ["countIf(blob1 IN ('a', 'B')), countIf(blob1 NOT IN ('a', 'B'))", ["3", "2"]],
    ["countIf(double1 >= 2 AND NOT (double1 = 3 OR double1 = 4))", ["2"]],
    ["countIf(double1 > 1 AND double1 <> 2 OR blob1 = '')", ["3"]],
    [
      "quantileExactWeighted(0)(double1, _sample_interval), quantileExactWeighted(1)(double1, _sample_interval)",
      [1, 10],
    ],
    [
      "quantileExactWeighted(0.5)(double1, _sample_interval), quantileExactWeighted(0.4)(double1, _sample_interval)",
      [3, 2],
    ],
    ["1 + 2 * 3 - -4, 7 / 2, 2 - 3, (1 + 2) * 3", ["11", 3.5, -1, 9]],
    ["sum(_sample_interval) * 2, sum(_sample_interval) / 2, 4294967296 + 1", ["10", 2.5, "4294967297"]],
    [
      "1 / 0, 0 / 0, sum(double1) / sum(double2), 0 / 0 = 0 / 0, 0 / 0 != 1, 1 / 0 > 5",
      [null, null, null, 0, 1, 1],
    ],
    [
      "sum(double2 / double2), sum(double1 / double2), if(sum(double2) = 0, 0, 1 / sum(double2))",
      [null, null, 0],
    ],
    ["intDiv(7, 2), intDiv(-7, 2), intDiv(sum(_sample_interval), 2)", [3, -3, "2"]],
    ["intDiv(100, -3), intDiv(65535, -3), intDiv(-200, 255), intDiv(-7, 255)", [-33, 0, 0, 7]],
    ["round(2.5), round(3.5), round(1.256, 2), round(7)", [2, 4, 1.26, 7]],
    ["if(1 < 2, 'yes', 'no'), if(1 > 2, 1, 2.5)", ["yes", 2.5]],
    ["'it''s', '$1', ''", ["it's", "$1", ""]],
    ["toDateTime(0), toDateTime('2025-01-15 09:30:00')", ["1970-01-01 00:00:00", "2025-01-15 09:30:00"]],
    ["toUnixTimestamp(toDateTime(1700000000)), toUInt32(toDateTime(5))", [1_700_000_000, 5]],
    [
      "toStartOfInterval(toDateTime('2025-01-15 09:34:56'), INTERVAL '15' MINUTE), toStartOfInterval(toDateTime('2025-01-15 09:34:56'), INTERVAL '6' HOUR)",
      ["2025-01-15 09:30:00", "2025-01-15 06:00:00"],
    ],
    [
      "toStartOfInterval(toDateTime('2025-01-15 09:34:56'), INTERVAL '40' SECOND), toStartOfInterval(toDateTime('2025-01-15 09:34:56'), interval '1' day)",
      ["2025-01-15 09:34:40", "2025-01-15 00:00:00"],
    ],
    [
      "toDateTime(86400) - INTERVAL '1' DAY, toDateTime(0) + INTERVAL '90' MINUTE",
      ["1970-01-01 00:00:00", "1970-01-01 01:30:00"],
    ],
    ["countIf(timestamp > now() - INTERVAL '15' MINUTE), countIf(timestamp > NOW())", ["5", "0"]],
    ["countIf(dataset = 'signal_ingest_requests' AND index1 = 'i' AND blob20 = '' AND double20 = 0)", ["5"]],
  ])("%s", async (expressions, expected) => {
    const named = split(expressions).map((expression, index) => `${expression} AS n${index}`)
    // Expressions without an aggregate would be told for each point.
    const asked = values([...named, "count() AS rows"].join(", "))
    expect((await asked).slice(0, -1)).toEqual(expected)
  })

  it("groups and orders by expressions that are not selected", async () =>
    expect(
      await data(
        `SELECT count() AS points FROM ${DATASET} WHERE double1 < 10 GROUP BY blob1, intDiv(4, 2) ORDER BY points DESC, blob1`,
      ),
    ).toEqual([{ points: "2" }, { points: "1" }, { points: "1" }]))

  it("has a row for each point where nothing is aggregated", async () =>
    expect(
      await data(
        `SELECT blob1, double1 * 2 AS twice FROM ${DATASET} WHERE double1 > 2 ORDER BY twice DESC LIMIT 2`,
      ),
    ).toEqual([
      { blob1: "", twice: 20 },
      { blob1: "é", twice: 8 },
    ]))

  it("orders NaN last in both directions", async () => {
    const query = `SELECT double1 AS x, double1 / (double1 - 1) - 1 / (double1 - 1) AS one FROM ${DATASET} ORDER BY one`
    for (const direction of ["ASC", "DESC"])
      expect((await data(`${query} ${direction}`)).at(-1)).toEqual({ x: 1, one: null })
  })

  it("may hold a key of the groups within", async () =>
    expect(
      await data(`SELECT double1 * 2 + 1 AS odd, if(blob1 = 'a', 'yes', 'no') AS a FROM ${DATASET} WHERE double1 < 4
        GROUP BY double1 * 2, a ORDER BY odd`),
    ).toEqual([
      { odd: 3, a: "yes" },
      { odd: 5, a: "yes" },
      { odd: 7, a: "no" },
    ]))
})

/** Splits at the commas that stand in no parentheses. */
const split = (text: string) => text.split(/,\s*(?![^()]*\))(?![^(]*\([^()]*\)[^()]*\))/)

describe("a query outside the dialect is refused", () => {
  const SELECT = `SELECT count() AS n FROM ${DATASET}`
  const unknown = (what: string, character: number) =>
    `The local Analytics Engine does not know ${what} (at character ${character}).`

  it.each([
    [`${SELECT} JOIN other ON 1 = 1`, unknown("JOIN", 49)],
    [`${SELECT} HAVING n > 1`, unknown("HAVING", 49)],
    [`${SELECT} UNION ALL ${SELECT}`, unknown("UNION", 49)],
    [`${SELECT} LIMIT 1 OFFSET 2`, unknown("OFFSET", 57)],
    [`${SELECT} FORMAT CSV`, unknown("CSV", 56)],
    [`${SELECT}; DROP TABLE signals`, unknown(";", 48)],
    [`${SELECT} -- and more`, unknown("comments such as --", 49)],
    ["SELECT count() FROM (SELECT 1 FROM t)", unknown("( here", 21)],
    ["SELECT (SELECT 1)", unknown("SELECT", 9)],
    [`SELECT * FROM ${DATASET}`, unknown("* here", 8)],
    [`SELECT DISTINCT blob1 FROM ${DATASET}`, unknown("DISTINCT", 8)],
    [`SELECT topK(3)(blob1) FROM ${DATASET}`, unknown("the function topK", 8)],
    [`SELECT pg_sleep(10) FROM ${DATASET}`, unknown("the function pg_sleep", 8)],
    [`SELECT TODATETIME(1) FROM ${DATASET}`, unknown("the function TODATETIME", 8)],
    [`SELECT blob21 FROM ${DATASET}`, unknown("the column blob21", 8)],
    [`SELECT ctid FROM ${DATASET}`, unknown("the column ctid", 8)],
    ["SELECT 1 AS one FROM pg_authid", unknown("the dataset pg_authid", 22)],
    [`SELECT "blob1" FROM ${DATASET}`, unknown('"', 8)],
    [`${SELECT} WHERE blob1 LIKE 'a'`, unknown("LIKE", 61)],
    [`${SELECT} WHERE blob1 = 'a\\'b'`, unknown("a backslash in a text", 63)],
    [`${SELECT} WHERE blob1 = 'a' OR 1 = 1; SELECT 'x'`, unknown(";", 75)],
    [`${SELECT} WHERE timestamp > now() - INTERVAL '1' MONTH`, unknown("the interval MONTH", 88)],
    [`SELECT sum(double1)(2) FROM ${DATASET}`, unknown("sum with two lists of arguments", 8)],
    [
      `SELECT quantileExactWeighted(0.5)(double4, double1) FROM ${DATASET}`,
      "quantileExactWeighted takes only _sample_interval as its weight (at character 44).",
    ],
    [
      `SELECT blob1, count() FROM ${DATASET}`,
      "blob1 is neither in GROUP BY nor in an aggregate (at character 8).",
    ],
    [`${SELECT} WHERE sum(double1) > 1`, "sum is an aggregate and is not allowed here (at character 55)."],
    [
      `SELECT sum(sum(double1)) FROM ${DATASET}`,
      "sum is an aggregate and is not allowed here (at character 12).",
    ],
    [`SELECT sum(blob1) FROM ${DATASET}`, "This must be a number, not a String (at character 12)."],
    [`${SELECT} WHERE blob4 = 200`, "A String cannot be compared with a UInt8 (at character 61)."],
    [
      `${SELECT} WHERE timestamp > '2025-01-15 09:30:00'`,
      "A DateTime cannot be compared with a String (at character 65).",
    ],
    [`${SELECT} WHERE double1`, "This must be a condition (at character 55)."],
    [`${SELECT} WHERE blob1 = 'a`, "A text has no closing quote (at character 63)."],
    [
      `${SELECT} WHERE timestamp > now() - INTERVAL 5 DAY`,
      "INTERVAL takes a whole number in quotes, such as INTERVAL '5' MINUTE (at character 84).",
    ],
    [
      `SELECT toStartOfInterval(timestamp, INTERVAL '5' HOUR) FROM ${DATASET}`,
      "toStartOfInterval takes hours that divide a day: 1, 2, 3, 4, 6, 8, 12 or 24 (at character 37).",
    ],
    [
      `SELECT blob1 AS double1 FROM ${DATASET}`,
      "double1 is a column and must not name another expression (at character 8).",
    ],
    [`SELECT 1 AS a, 2 AS a FROM ${DATASET}`, "Two columns are named a (at character 16)."],
    [
      `SELECT intDiv(count(), 0) FROM ${DATASET}`,
      "The local Analytics Engine cannot compute this: division by zero.",
    ],
    [
      `SELECT toDateTime(4294967296) FROM ${DATASET}`,
      "The local Analytics Engine cannot compute this: a time is before 1970 or after 2106.",
    ],
    [
      `${SELECT} WHERE timestamp > toDateTime(0) - INTERVAL '1' SECOND`,
      "The local Analytics Engine cannot compute this: a time is before 1970 or after 2106.",
    ],
    [
      `SELECT toDateTime('soon') FROM ${DATASET}`,
      "toDateTime takes seconds, or a text such as '2025-01-15 09:30:00' (at character 19).",
    ],
    [
      `SELECT toDateTime('2026-02-30 00:00:00') FROM ${DATASET}`,
      "toDateTime takes seconds, or a text such as '2025-01-15 09:30:00' (at character 19).",
    ],
    [
      `${SELECT} ORDER BY sum(double1)`,
      "ORDER BY takes names. Name this expression with AS in SELECT, and order by that name (at character 58).",
    ],
    [`SELECT toDateTime(1.5) FROM ${DATASET}`, "toDateTime takes whole seconds (at character 19)."],
    [`SELECT time FROM ${DATASET}`, unknown("the column time", 8)],
    [`SELECT count() AS time FROM ${DATASET} WHERE time > 1`, unknown("the column time", 58)],
    [`SELECT double1 = 1 = 1 FROM ${DATASET}`, unknown("= here", 20)],
    [`SELECT double1 "x" FROM ${DATASET}`, unknown('"', 16)],
    [`SELECT count(1) FROM ${DATASET}`, "count takes 0 arguments, not 1 (at character 8)."],
    [`SELECT ${"(".repeat(500)}1`, "The query nests deeper than 100 levels (at character 108)."],
    ["SELECT 1", "The query ends where FROM is missing (at character 9)."],
    ["", "The query ends where SELECT is missing (at character 1)."],
  ])("%s", async (query, sentence) => {
    const response = await ask(query)
    expect([response.status, await response.text()]).toEqual([422, sentence])
  })

  it.each([
    ["1 + ", 50_000],
    ["1 = 1 AND ", 50_000],
    ["blob1 IN ('a', ", 1],
    ["'a', ", 1500],
  ])("refuses %j, %i times, before it exhausts the stack", async (text, times) => {
    const response = await ask(`SELECT ${text.repeat(times)}1 AS n FROM ${DATASET}`)
    expect([response.status, await response.text()]).toEqual([422, expect.any(String)])
  })

  it("refuses a query with more words than Postgres can hold, and answers those below the bound", async () => {
    const columns = Array.from({ length: 480 }, (_, index) => `1 AS n${index}`).join(", ")
    expect((await ask(`SELECT ${columns} FROM ${DATASET}`)).status).toBe(200)
    const query = `SELECT ${Array(990).fill("1").join(" + ")} AS n FROM ${DATASET} GROUP BY n`
    expect((await ask(query)).status).toBe(200)
  })

  it("treats SQL in a text as text", async () =>
    expect(await data(`${SELECT} WHERE blob1 = '''; DROP SCHEMA local_analytics CASCADE; --'`)).toEqual([
      { n: "0" },
    ]))
})

describe("the API", () => {
  it.each([[SQL_PATH], ["/../../points"]])("asks for the token at %s", async (path) => {
    const response = await post(analytics.url + path, "SELECT 1", "wrong")
    expect([response.status, await response.json()]).toEqual([
      401,
      {
        success: false,
        errors: [{ code: 10_000, message: "Authentication error" }],
        messages: [],
        result: null,
      },
    ])
  })

  it("serves one path and one method", async () => {
    expect((await post(`${analytics.url}/accounts/local/other`, "")).status).toBe(404)
    expect((await fetch(analytics.url + SQL_PATH)).status).toBe(405)
  })
})

describe("a point", () => {
  beforeEach(empty)

  it("has the second at which it arrives", async () => {
    const before = Math.floor(Date.now() / 1000)
    expect((await write({})).status).toBe(204)
    const [time] = await values("min(toUnixTimestamp(timestamp)) AS time")
    expect(time).toBeGreaterThanOrEqual(before)
    expect(time).toBeLessThanOrEqual(Date.now() / 1000)
  })

  it("can be as large as Analytics Engine accepts", async () => {
    const full = {
      indexes: ["i".repeat(96)],
      blobs: Array(20).fill("b".repeat(800)),
      doubles: Array(20).fill(1.5),
    }
    expect((await write(full)).status).toBe(204)
    expect(await values("max(index1), max(blob20), sum(double20)")).toEqual([
      "i".repeat(96),
      "b".repeat(800),
      1.5,
    ])
  })

  it.each([
    [{ blobs: Array(21).fill("") }, "blobs must be a list of at most 20."],
    [{ doubles: Array(21).fill(0) }, "doubles must be a list of at most 20."],
    [{ indexes: ["a", "b"] }, "indexes must be a list of at most 1."],
    [{ indexes: ["é".repeat(49)] }, "An index must have at most 96 bytes."],
    [{ blobs: ["b".repeat(16_001)] }, "The blobs must have at most 16000 bytes together."],
    [{ doubles: ["1"] }, "doubles has a value of the wrong kind."],
    [{ blobs: ["\0"] }, "blobs has a value of the wrong kind."],
    [null, "A point must be an object."],
  ])("like %j is refused", async (point, sentence) => {
    const response = await write(point)
    expect([response.status, await response.text()]).toEqual([400, sentence])
    expect(await values("count()")).toEqual(["0"])
  })

  it("is deleted at the next start when it is older than three months; others stay", async () => {
    await write({ doubles: [1] })
    await inPostgres(
      "insert into local_analytics.points (timestamp, dataset) values (now() - interval '4 months', $1)",
      [DATASET],
    )
    const next = await startAnalytics({ databaseUrl: analytics.databaseUrl, token: analytics.token })
    expect(await values("count(), sum(double1)")).toEqual(["1", 1])
    await next.stop()
  })
})

describe("for tests it can", () => {
  it("fail, hang, stop and start again", async () => {
    const { faults } = analytics
    const query = `SELECT count() AS n FROM ${DATASET}`
    faults.failures.push({ status: 503, body: "later" })
    expect((await ask(query)).status).toBe(503)
    faults.hang = true
    const hanging = fetch(analytics.url + SQL_PATH, {
      method: "POST",
      body: query,
      headers: { Authorization: `Bearer ${analytics.token}` },
      signal: AbortSignal.timeout(200),
    })
    await expect(hanging).rejects.toThrow("timeout")
    faults.hang = false
    await faults.refuse()
    await expect(ask(query)).rejects.toThrow()
    await faults.accept()
    expect((await ask(query)).status).toBe(200)
  })
})
