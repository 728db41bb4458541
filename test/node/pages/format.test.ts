import { describe, expect, it } from "vitest"
import { axisSpan, axisTime } from "../../../src/pages/dashboard/base/format.ts"

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
  it("is some steps long while there is only one, and ends with the last step after that", () => {
    expect(axisSpan([1000], 15)).toEqual([1000, 1120])
    expect(axisSpan([1000, 1450, 1900], 15)).toEqual([1000, 1900])
  })
})
