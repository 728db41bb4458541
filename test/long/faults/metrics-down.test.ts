import { afterEach, describe, expect, it } from "vitest"
import { freePort } from "../../../src/local/machine/ports.ts"
import { misstored, type Rig, type Sent, sendBatch, startRig } from "../../setup/rig.ts"
import { type Sink, startSink } from "../../setup/sink.ts"

let rig: Rig | undefined
let sink: Sink | undefined

afterEach(async () => {
  await rig?.stop()
  await sink?.stop()
  rig = undefined
  sink = undefined
})

async function sendBatches(to: Rig, count: number): Promise<Sent[]> {
  const sent: Sent[] = []
  const caller = async () => {
    while (sent.length < count) sent.push(await sendBatch(to))
  }
  await Promise.all(Array.from({ length: 8 }, caller))
  return sent
}

/** 1,000 batches and more, all acknowledged and each there once. */
async function expectUntouched(to: Rig): Promise<void> {
  const sent = await sendBatches(to, 1000)
  expect(sent.filter(({ status }) => status !== 200)).toEqual([])
  const stored = await misstored(
    to,
    sent.map(({ conversation }) => conversation),
  )
  expect(stored).toEqual({ lostOrDoubled: [], torn: [] })
}

describe("batches", () => {
  it("write each a data point to the dataset that the runtime binds", async () => {
    const store = await startSink({ answers: true })
    sink = store
    rig = await startRig({}, { metricsSink: store.address })
    const sent = await sendBatches(rig, 100)
    await expect.poll(() => store.points.length).toBe(sent.length)
    // total, successes and failures; see src/metrics/points.ts
    expect(store.points.map(({ double1, double2, double3 }) => [double1, double2, double3])).toEqual(
      sent.map(() => [20, 20, 0]),
    )
  })

  it("1,000 batches go through when the metrics store refuses connections", async () => {
    rig = await startRig({}, { metricsSink: `127.0.0.1:${await freePort()}` })
    await expectUntouched(rig)
  })

  it("1,000 batches go through when the metrics store takes connections and never answers", async () => {
    sink = await startSink({ answers: false })
    rig = await startRig({}, { metricsSink: sink.address })
    await expectUntouched(rig)
  })
})
