import { describe, expect, it } from "vitest"
import { planDelivery } from "../../../src/bridges/plan-delivery.ts"

const NOW = "2026-01-02T03:04:05.000000Z"

describe("a delivery", () => {
  it("is planned like a batch, each record at its index", () => {
    const { plan } = planDelivery(
      [
        { signal: { context_window_id: "conv-1", raw_content: "first" } },
        { signal: { context_window_id: "conv-1", signal_score: 2 } },
        { signal: { context_window_id: "conv-1", raw_content: "last" } },
      ],
      NOW,
    )
    expect(plan.total).toBe(3)
    expect(plan.rows.map(({ index, rawContent, time }) => ({ index, rawContent, time }))).toEqual([
      { index: 0, rawContent: "first", time: NOW },
      { index: 2, rawContent: "last", time: NOW },
    ])
    expect(plan.failures).toMatchObject([
      { index: 1, error: "signal_score must be between 0 and 1", code: "out_of_range" },
    ])
  })

  it("leaves skipped records out of its total and counts them by kind", () => {
    const { plan, skipped } = planDelivery(
      [
        { skipped: "tombstone" },
        { signal: { context_window_id: "conv-1" } },
        { skipped: "tombstone" },
        { skipped: "channel_join" },
      ],
      NOW,
    )
    expect(skipped).toEqual({ tombstone: 2, channel_join: 1 })
    expect(plan).toMatchObject({ total: 1, rows: [{ index: 1 }], failures: [] })
  })

  it("fails a record of the wrong shape alone, and names its field", () => {
    const { plan } = planDelivery(
      [
        { signal: { context_window_id: 7 } },
        { signal: {} },
        { refused: "the record has no key" },
        { signal: { context_window_id: "conv-1" } },
      ],
      NOW,
    )
    expect(plan.total).toBe(4)
    expect(plan.rows).toMatchObject([{ index: 3 }])
    const field = "context_window_id"
    expect(plan.failures).toEqual([
      {
        index: 0,
        error: "context_window_id: Input should be a valid string",
        code: "wrong_type",
        field,
        retryable: false,
      },
      {
        index: 1,
        error: "context_window_id: Field required",
        code: "missing_field",
        field,
        retryable: false,
      },
      { index: 2, error: "the record has no key", code: "unreadable_record", retryable: false },
    ])
  })
})
