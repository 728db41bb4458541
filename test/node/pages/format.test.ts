import { describe, expect, it } from "vitest"
import { axisSpan, axisTime, bytes, fullTime, timeOfId } from "../../../src/pages/dashboard/base/format.ts"

describe("the ticks of a chart's time axis", () => {
  it.each([15, 30, 60, 300, 3600, 86_400])(
    "have different labels when they are %i seconds apart",
    (stepSeconds) => {
      const labels = Array.from({ length: 5 }, (_, tick) =>
        axisTime(new Date(Date.UTC(2025, 0, 15, 9) + tick * stepSeconds * 1000), stepSeconds),
      )
      expect(new Set(labels).size).toBe(labels.length)
    },
  )
})

describe("the span of a chart's time axis", () => {
  it("has a few steps when there is only one, and later ends with the last step", () => {
    expect(axisSpan([1000], 15)).toEqual([1000, 1120])
    expect(axisSpan([1000, 1450, 1900], 15)).toEqual([1000, 1900])
  })
})

describe("a size", () => {
  it.each([
    [0, "0 byte"],
    [999, "999 byte"],
    [1000, "1 kB"],
    [114_688, "115 kB"],
    [7_340_032_000, "7.34 GB"],
    [5e15, "5,000 TB"],
  ])("of %i bytes is %s", (value, text) => expect(bytes(value)).toBe(text))
})

describe("a time", () => {
  it("has its date, every stored digit and the zone's offset", () =>
    expect(fullTime("2025-01-15T09:30:00.123456Z")).toMatch(
      /^2025-01-1[456] \d\d:\d\d:00\.123456 [+-]\d\d:\d\d$/,
    ))

  it("of a batch comes from its id", () =>
    expect(timeOfId("01941f29-7c00-7000-8000-000000000000")).toBe("2025-01-01T00:00:00.000Z"))
})
