import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { COLUMNS, dataPoint, type RequestPoint } from "../../../src/metrics/point.ts"

const request = (fields: Partial<RequestPoint> = {}): RequestPoint => ({
  route: "POST /api/signals/batch",
  mode: "best_effort",
  outcome: "partly_stored",
  status: 200,
  caller: "bridge",
  source: "Slack",
  total: 3,
  successes: 2,
  failures: 1,
  latencyMs: 12,
  databaseMs: 9,
  bytes: 512,
  databaseAttempts: 4,
  kind: "tombstone",
  skipped: 1,
  ...fields,
})

describe("a data point", () => {
  it("has every field of the request in the column that the layout gives it", () => {
    const { blobs, doubles } = dataPoint(request())
    const columns = Object.fromEntries([
      ...blobs.map((text, place) => [`blob${place + 1}`, text]),
      ...doubles.map((number, place) => [`double${place + 1}`, number]),
    ])
    for (const [field, column] of Object.entries(COLUMNS))
      expect(columns[column], field).toBe(field === "status" ? "200" : request()[field as keyof RequestPoint])
    expect(Object.keys(columns)).toHaveLength(Object.keys(COLUMNS).length)
  })

  it("is sampled by outcome and route, so that a rare failure is kept beside a flood of successes", () => {
    expect(dataPoint(request()).indexes).toEqual(["partly_stored POST /api/signals/batch"])
  })

  it("fits the limits of Analytics Engine whatever a request holds, and cuts no character in half", () => {
    const text = fc.string({ unit: "grapheme", maxLength: 3000 })
    fc.assert(
      fc.property(text, text, text, (route, caller, source) => {
        const { indexes, blobs } = dataPoint(request({ route, caller, source }))
        const bytes = (value: unknown) => new TextEncoder().encode(String(value)).length
        expect(bytes(indexes[0])).toBeLessThanOrEqual(96)
        expect(blobs.reduce((sum, blob) => sum + bytes(blob), 0)).toBeLessThanOrEqual(16_000)
        for (const blob of blobs) expect(blob.isWellFormed()).toBe(true)
      }),
      { numRuns: 200, seed: 20261123 },
    )
  })
})
