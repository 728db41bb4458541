import { describe, expect, it } from "vitest"
import { axisTime } from "../../../src/pages/dashboard/format.ts"

describe("the ticks of a chart's time axis", () => {
  it.each([15, 30, 60, 300, 3600, 86_400])("have different labels when they are %i seconds apart", (stepSeconds) => {
    const labels = Array.from({ length: 5 }, (_, tick) =>
      axisTime(new Date(Date.UTC(2025, 0, 15, 9) + tick * stepSeconds * 1000), stepSeconds),
    )
    expect(new Set(labels).size).toBe(labels.length)
  })
})
