import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { deliverEach } from "../../../src/client/deliver.ts"
import { type NewSignal, SignalClient } from "../../../src/client/index.ts"
import { type FaultyProxy, startProxy } from "../../setup/proxy.ts"
import { type Rig, startRig } from "../../setup/rig.ts"

let rig: Rig
let proxy: FaultyProxy

beforeAll(async () => {
  rig = await startRig()
  proxy = await startProxy(rig.service.address)
})
afterAll(async () => {
  await proxy?.stop()
  await rig?.stop()
})
beforeEach(async () => {
  await rig.query("truncate signals, batches")
  proxy.seen.length = 0
})

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
  for (const place of [0, Math.floor(bad / 2), bad]) signals.splice(place, 0, GOOD)
  return signals as NewSignal[]
}
const deliver = (signals: NewSignal[], more: object = {}) =>
  deliverEach(new SignalClient({ url: proxy.address }), signals, { idempotencyKey: `test-${crypto.randomUUID()}`, ...more })
const stored = async () => (await rig.query("select raw_content from signals")).length

describe("a batch with more shape errors than an answer names", () => {
  it("is split in halves in a bounded number of requests, under keys of bounded length", async () => {
    const failures = await deliver(mixed(200))
    expect(failures).toHaveLength(200)
    expect(failures[0]).toMatchObject({ index: 1, error: "context_window_id: Field required" })
    expect(await stored()).toBe(3)
    expect(proxy.seen.length).toBeLessThan(100)
    for (const { headers } of proxy.seen) expect(String(headers["idempotency-key"]).length).toBeLessThanOrEqual(64)
  })

  it("takes one more request when the sender can find them", async () => {
    const findShapeError = (signal: NewSignal) => (signal.raw_content === "good" ? undefined : "misshapen")
    expect(await deliver(mixed(2000), { findShapeError })).toHaveLength(2000)
    expect(await stored()).toBe(3)
    expect(proxy.seen).toHaveLength(2)
  })

  it("is stored once when it is sent again under its key", async () => {
    const idempotencyKey = crypto.randomUUID()
    const [first, second] = [await deliver(mixed(30), { idempotencyKey }), await deliver(mixed(30), { idempotencyKey })]
    expect(second).toEqual(first)
    expect(await stored()).toBe(3)
  })
})
