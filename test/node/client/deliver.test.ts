import { describe, expect, it } from "vitest"
import { deliverEach } from "../../../src/client/deliver.ts"
import { type NewSignal, SignalClient } from "../../../src/client/index.ts"
import { useEmptyTables, useProxy, useRig } from "../../setup/hooks/rig.ts"

const rig = useRig()
const proxy = useProxy(rig)
useEmptyTables(rig)

const WRONG = {
  raw_content: 1,
  timestamp: true,
  signal_source: 1,
  signal_score: "x",
  signal_vector: 1,
  emotional_tone: "x",
  escalate_flag: "x",
  agent_id: 1,
  user_id: 1,
  payload: 1,
  relationship_context: 1,
  diagnostic_notes: 1,
}
const GOOD = { context_window_id: "c", raw_content: "good" }

/** `bad` signals of 13 shape errors each, and three good ones among them. */
const mixed = (bad: number) => {
  const signals: unknown[] = Array.from({ length: bad }, () => WRONG)
  for (const index of [0, Math.floor(bad / 2), bad]) signals.splice(index, 0, GOOD)
  return signals as NewSignal[]
}
const deliver = (signals: NewSignal[], more: object = {}) =>
  deliverEach(new SignalClient({ url: proxy.address }), signals, {
    idempotencyKey: `test-${crypto.randomUUID()}`,
    ...more,
  })
const stored = async () => (await rig.query("select raw_content from signals")).length

describe("a batch in which signals have the wrong shape", () => {
  it("is sent once, however many there are", async () => {
    const failures = await deliver(mixed(2000))
    expect(failures).toHaveLength(2000)
    expect(failures[0]).toEqual({
      index: 1,
      error: "context_window_id: Field required",
      code: "missing_field",
      field: "context_window_id",
      retryable: false,
    })
    expect([await stored(), proxy.seen.length]).toEqual([3, 1])
  })

  it("is stored once when it is sent again under its key", async () => {
    const idempotencyKey = crypto.randomUUID()
    const [first, second] = [
      await deliver(mixed(30), { idempotencyKey }),
      await deliver(mixed(30), { idempotencyKey }),
    ]
    expect(second).toEqual(first)
    expect(await stored()).toBe(3)
  })
})

describe("a batch that is over a limit", () => {
  const large = { text: "x".repeat(9 * 1024 * 1024) }

  it("is sent in halves under keys of bounded length, and a signal over the limit of bodies fails alone", async () => {
    const signals = [GOOD, { ...GOOD, payload: large }, GOOD]
    const idempotencyKey = `test-${crypto.randomUUID()}`
    const failures = await deliver(signals, { idempotencyKey })
    expect(failures).toMatchObject([
      { index: 1, code: "too_large", error: expect.stringContaining("MAX_BODY_BYTES") },
    ])
    expect(await stored()).toBe(2)
    for (const { headers } of proxy.seen)
      expect(String(headers["idempotency-key"]).length).toBeLessThanOrEqual(64)
    expect(await deliver(signals, { idempotencyKey })).toEqual(failures)
    expect(await stored()).toBe(2)
  })
})
