import fc from "fast-check"
import { describe, expect, it } from "vitest"
import {
  COLUMNS,
  commonName,
  dataPoint,
  ERRORS,
  OUTCOMES,
  type Point,
  SUCCESSES,
  TURNED_AWAY,
  withParts,
} from "../../../src/metrics/points.ts"

const full: Required<Point> = {
  route: "POST /api/signals/batch",
  mode: "best_effort",
  outcome: "partly_stored",
  status: 200,
  caller: "bridge",
  source: "Slack",
  total: 4,
  successes: 2,
  failures: 1,
  duplicates: 1,
  latencyMs: 12,
  databaseMs: 9,
  bytes: 512,
  databaseAttempts: 4,
  kind: "tombstone",
  code: "out_of_range",
  skipped: 1,
  waiting: 3,
}

/** The value of each column of a point. */
function columnsOf(point: Point): Record<string, string | number> {
  const { blobs, doubles } = dataPoint(point)
  return Object.fromEntries([
    ...blobs.map((text, index) => [`blob${index + 1}`, text]),
    ...doubles.map((number, index) => [`double${index + 1}`, number]),
  ])
}

describe("a data point", () => {
  it("has every field in the column of the layout", () => {
    const columns = columnsOf(full)
    for (const [field, column] of Object.entries(COLUMNS))
      expect(columns[column], field).toBe(field === "status" ? "200" : full[field as keyof Point])
    expect(Object.keys(columns)).toHaveLength(Object.keys(COLUMNS).length)
  })

  it("needs only a route and an outcome, and has empty values in all other columns", () => {
    const columns = columnsOf({ route: "GET /api/batches", outcome: "answered" })
    const given: string[] = [COLUMNS.route, COLUMNS.outcome]
    for (const column of Object.values(COLUMNS))
      if (!given.includes(column)) expect(columns[column], column).toBe(column.startsWith("blob") ? "" : 0)
  })

  it("keeps the columns of the points that are stored already, in gapless order", () => {
    expect(Object.values(COLUMNS)).toEqual([
      ...["blob1", "blob2", "blob3", "blob4", "blob5", "blob6", "blob7", "blob8"],
      ...["double1", "double2", "double3", "double4", "double5", "double6", "double7", "double8", "double9"],
      "double10",
    ])
    expect(Object.keys(COLUMNS)).toEqual([
      ...["route", "mode", "outcome", "status", "caller", "source", "kind", "code"],
      ...[
        "total",
        "successes",
        "failures",
        "latencyMs",
        "databaseMs",
        "bytes",
        "databaseAttempts",
        "skipped",
        "duplicates",
        "waiting",
      ],
    ])
  })

  it("is sampled by outcome and route, so that a rare failure is kept beside many successes", () => {
    expect(dataPoint(full).indexes).toEqual(["partly_stored POST /api/signals/batch"])
  })

  it("fits the limits of Analytics Engine for any request, and never splits a character", () => {
    const text = fc.string({ unit: "grapheme", maxLength: 3000 })
    fc.assert(
      fc.property(text, text, text, (route, caller, source) => {
        const { indexes, blobs } = dataPoint({ ...full, route, caller, source })
        const bytes = (value: unknown) => new TextEncoder().encode(String(value)).length
        expect(bytes(indexes[0])).toBeLessThanOrEqual(96)
        expect(blobs.reduce((sum, blob) => sum + bytes(blob), 0)).toBeLessThanOrEqual(16_000)
        for (const blob of blobs) expect(blob.isWellFormed()).toBe(true)
      }),
      { numRuns: 200, seed: 20261123 },
    )
  })
})

describe("the parts of a point", () => {
  const counts = (names: number, count = 1) =>
    new Map(Array.from({ length: names }, (_, index) => [`name ${index}`, count + index]))
  const point: Point = {
    route: "POST /api/signals/batch",
    outcome: "partly_stored",
    caller: "bridge",
    source: "mixed",
    successes: 9,
  }

  it("are none where all signals share a source and all failures a code: the point has them", () => {
    const parts = { sources: new Map([["Slack", 3]]), codes: new Map([["blank", 1]]) }
    expect(withParts({ ...point, source: commonName(parts.sources) }, parts)).toEqual([
      { ...point, source: "Slack", code: "blank" },
    ])
    expect(withParts({ ...point, source: "" }, { sources: new Map(), codes: new Map() })).toEqual([
      { ...point, source: "", code: "" },
    ])
  })

  it("keep a source whose name is mixed", () => {
    const sources = new Map([["mixed", 9]])
    const parts = withParts({ ...point, source: commonName(sources) }, { sources, codes: new Map() })
    expect(parts.slice(1)).toEqual([
      { route: "PART", outcome: "partly_stored", caller: "bridge", source: "mixed", successes: 9 },
    ])
  })

  it("are far fewer than Analytics Engine accepts, and count every signal, for any number of names from a sender", () => {
    const all = withParts(point, { sources: counts(10_000), codes: counts(40, 5) })
    expect(all.length).toBeLessThanOrEqual(51)
    const sum = (field: "successes" | "failures") =>
      all.slice(1).reduce((total, part) => total + (part[field] ?? 0), 0)
    expect(sum("successes")).toBe((10_000 * 10_001) / 2)
    expect(sum("failures")).toBe(40 * 5 + (39 * 40) / 2)
  })

  it("are sampled by their name, so that a rare one is kept beside many others", () => {
    const [, ...parts] = withParts(point, {
      sources: counts(2),
      codes: new Map([
        ["blank", 1],
        ["too_deep", 2],
      ]),
    })
    expect(parts.map((part) => dataPoint(part).indexes)).toEqual([
      ["name 1 PART"],
      ["name 0 PART"],
      ["too_deep PART"],
      ["blank PART"],
    ])
  })
})

describe("an outcome", () => {
  it.each(OUTCOMES)("%s is a success, an error or neither", (outcome) => {
    const kinds = [SUCCESSES, ERRORS, TURNED_AWAY, ["partly_stored"]].filter((kind) => kind.includes(outcome))
    expect(kinds).toHaveLength(1)
  })
})
