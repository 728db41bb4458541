import { describe, expect, it } from "vitest"
import { ignoredFields, planBatch } from "../../../src/signals/plan.ts"
import { timeLimitAt } from "../../../src/signals/rules.ts"
import { Signal } from "../../../src/signals/schema.ts"

const NOW = "2025-01-15T10:00:00.000000Z"

describe("a plan", () => {
  it("has each signal once, as a row or as a failure, in batch order", () => {
    const scores = [0, 2, 1, -1, 0.5]
    const plan = planBatch(
      scores.map((signal_score) => ({ context_window_id: "a", signal_score })),
      NOW,
    )
    expect(plan.total).toBe(5)
    expect(plan.rows.map(({ index }) => index)).toEqual([0, 2, 4])
    expect(plan.failures).toEqual(
      [1, 3].map((index) => ({
        index,
        error: "signal_score must be between 0 and 1",
        code: "out_of_range",
        field: "signal_score",
        retryable: false,
      })),
    )
  })

  it("sets the defaults, and treats null as absent", () => {
    const [absent, nulls] = planBatch(
      [
        { context_window_id: "a" },
        { context_window_id: "a", signal_source: null, signal_score: null, escalate_flag: null },
      ],
      NOW,
    ).rows
    expect(absent).toMatchObject({
      time: NOW,
      signalSource: "unknown",
      signalScore: 0.5,
      escalateFlag: 0,
      payload: "",
      emotionalTone: null,
    })
    expect({ ...nulls, index: 0 }).toEqual(absent)
  })

  it("refuses a timestamp outside the years 0001-9999 by itself", () =>
    expect(planBatch([Signal.parse({ context_window_id: "a", timestamp: 1e18 })], NOW).failures).toEqual([
      {
        index: 0,
        error: "timestamp must be between years 0001 and 9999",
        code: "out_of_range",
        field: "timestamp",
        retryable: false,
      },
    ]))

  it("refuses a timestamp too far ahead of the clock by itself, to the microsecond", () => {
    const times = [
      "2025-01-15T10:01:00Z",
      "2025-01-15T10:01:00.000001Z",
      "2025-01-15T11:01:00+01:00",
      "9999-12-31T23:59:59Z",
      null,
    ]
    const signals = times.map((timestamp) => Signal.parse({ context_window_id: "a", timestamp }))
    const plan = planBatch(signals, NOW, { timeLimit: timeLimitAt(new Date(NOW), 60) })
    expect(plan.rows.map(({ index }) => index)).toEqual([0, 2, 4])
    const error = "timestamp must be at most 60 seconds ahead of the service's clock"
    const why = { error, code: "too_far_ahead", field: "timestamp", retryable: true }
    expect(plan.failures).toEqual([1, 3].map((index) => ({ index, ...why })))
  })
})

describe("the ignored fields of a batch", () => {
  it("are the unknown names, each once", () =>
    expect(
      ignoredFields({
        signals: [
          { context_window_id: "a", x: 1 },
          { context_window_id: "a", x: 2, y: 3 },
        ],
        z: 0,
      }),
    ).toEqual(["z", "x", "y"]))

  it("are 100 at most", () => {
    const fields = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [`field_${index}`, 1]))
    expect(ignoredFields({ signals: [{ context_window_id: "a", ...fields }] })).toHaveLength(100)
  })
})
