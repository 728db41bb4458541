import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest"
import {
  BatchProcessor,
  DeadlineError,
  SignalClient,
  type Undelivered,
  type Unstored,
} from "../../../src/client/index.ts"
import { storedNumbers, upTo, useEmptyTables, useProxy, useRig } from "../../setup/hooks/rig.ts"

const rig = useRig()
const proxy = useProxy(rig)
useEmptyTables(rig)
let client: SignalClient
const unhandled: unknown[] = []
const remember = (reason: unknown) => unhandled.push(reason)

beforeAll(() => {
  process.on("unhandledRejection", remember)
  client = new SignalClient({ url: proxy.address })
})
afterAll(() => void process.off("unhandledRejection", remember))
afterEach(async () => {
  // A rejection counts as unhandled once the loop has turned.
  await sleep(0)
  expect(unhandled.splice(0)).toEqual([])
})

const signal = (index: number) => ({ context_window_id: "conv-processor", raw_content: String(index) })
const stored = () => storedNumbers(rig)
const addAll = (processor: BatchProcessor, indexes: number[]) =>
  Promise.all(indexes.map((index) => processor.add(signal(index))))

describe("BatchProcessor", () => {
  it("sends by count, and the rest when it is closed", async () => {
    const processor = new BatchProcessor(client, { maxCount: 10, maxWaitMs: 60_000 })
    await addAll(processor, upTo(25))
    await expect.poll(stored).toHaveLength(20)
    await processor.close()
    expect(await stored()).toEqual(upTo(25))
    expect(proxy.seen).toHaveLength(3)
  })

  it("sends its headers with every batch, and the library's own win", async () => {
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    const headers = { traceparent, "content-type": "text/plain" }
    await using processor = new BatchProcessor(client, { maxCount: 2, headers })
    await addAll(processor, upTo(4))
    await processor.flush()
    expect(proxy.seen.map(({ headers }) => [headers.traceparent, headers["content-type"]])).toEqual([
      [traceparent, "application/json"],
      [traceparent, "application/json"],
    ])
  })

  it("sends by time", async () => {
    await using processor = new BatchProcessor(client, { maxWaitMs: 20 })
    await processor.add(signal(0))
    await expect.poll(stored).toEqual([0])
    await processor.add(signal(1))
    await expect.poll(stored).toEqual([0, 1])
  })

  it("sends by bytes", async () => {
    const processor = new BatchProcessor(client, { maxBytes: 1000, maxWaitMs: 60_000 })
    for (const index of upTo(4)) await processor.add({ ...signal(index), diagnostic_notes: "x".repeat(400) })
    await expect.poll(stored).toEqual([0, 1])
    await processor.close()
    expect(await stored()).toEqual(upTo(4))
  })

  it("sends everything at the end of its scope", async () => {
    {
      await using processor = new BatchProcessor(client, { maxWaitMs: 60_000 })
      await processor.add(signal(0))
    }
    expect(await stored()).toEqual([0])
  })

  it("makes add wait while the buffer is full, and never holds more than maxBuffered", async () => {
    const processor = new BatchProcessor(client, {
      maxCount: 5,
      maxBuffered: 20,
      maxInFlight: 1,
      maxWaitMs: 10,
    })
    await rig.endpoint.faults.refuse()
    let accepted = 0
    const adding = Promise.all(upTo(60).map((index) => processor.add(signal(index)).then(() => accepted++)))
    await expect.poll(() => proxy.seen.length).toBeGreaterThan(0)
    expect(accepted).toBe(20)
    await rig.endpoint.faults.accept()
    await adding
    await processor.close()
    expect(await stored()).toEqual(upTo(60))
  })

  it("sends several batches at once, and no more than maxInFlight", async () => {
    const processor = new BatchProcessor(client, { maxCount: 1, maxInFlight: 3 })
    await rig.endpoint.faults.refuse()
    await addAll(processor, upTo(10))
    await expect.poll(() => proxy.seen.length).toBe(3)
    await rig.endpoint.faults.accept()
    await processor.close()
    expect(await stored()).toEqual(upTo(10))
  })

  it("reports each refused signal with its reason, and stores the others of its batch", async () => {
    const failures: Unstored[] = []
    const processor = new BatchProcessor(client, {
      maxCount: 100,
      onFailure: (failure) => failures.push(failure),
    })
    const tooHigh = { ...signal(100), signal_score: 2 }
    const misshapen = { raw_content: "101" } as never
    await addAll(processor, [0, 1])
    await processor.add(tooHigh)
    await processor.add(misshapen)
    await addAll(processor, [2])
    await processor.close()
    expect(await stored()).toEqual([0, 1, 2])
    expect(failures.map(({ error }) => error)).toEqual([
      "signal_score must be between 0 and 1",
      "context_window_id: Field required",
    ])
    expect(failures.map((failure) => failure.signal)).toEqual([tooHigh, misshapen])
    expect(failures).toMatchObject([
      { code: "out_of_range", field: "signal_score", retryable: false },
      { code: "missing_field", field: "context_window_id", retryable: false },
    ])
  })

  it("continues when a callback throws", async () => {
    const processor = new BatchProcessor(client, {
      onFailure: () => {
        throw new Error("an error of the callback")
      },
    })
    await processor.add({ ...signal(100), signal_score: 2 })
    await addAll(processor, upTo(3))
    await processor.close()
    expect(await stored()).toEqual(upTo(3))
  })

  it("reports a batch that was not delivered within giveUpMs", async () => {
    const undelivered: Undelivered[] = []
    const nowhere = new SignalClient({ url: "http://127.0.0.1:2", deadlineMs: 100 })
    const processor = new BatchProcessor(nowhere, {
      maxCount: 2,
      giveUpMs: 300,
      onUndelivered: (batch) => undelivered.push(batch),
    })
    await addAll(processor, upTo(3))
    await processor.close()
    const indexes = undelivered
      .flatMap(({ signals }) => signals)
      .map(({ raw_content }) => Number(raw_content))
    expect(indexes.sort()).toEqual(upTo(3))
    expect(undelivered[0]).toMatchObject({
      count: 2,
      kept: false,
      error: { name: "DeadlineError", message: expect.stringContaining("ECONNREFUSED") },
    })
  })

  it("makes flush and close reject with that error when there is no onUndelivered", async () => {
    const nowhere = new SignalClient({ url: "http://127.0.0.1:2", deadlineMs: 50 })
    const processor = new BatchProcessor(nowhere, { maxCount: 1, giveUpMs: 100 })
    await processor.add(signal(0))
    await expect(processor.flush()).rejects.toBeInstanceOf(DeadlineError)
    await processor.add(signal(1))
    await expect(processor.close()).rejects.toBeInstanceOf(DeadlineError)
  })

  it("accepts no signal after close, and can be closed twice", async () => {
    const processor = new BatchProcessor(client)
    await processor.add(signal(0))
    await Promise.all([processor.close(), processor.close()])
    await expect(processor.add(signal(1))).rejects.toThrow("The BatchProcessor is closed")
    expect(await stored()).toEqual([0])
  })

  it("stores each signal once while connections and answers are lost", async () => {
    const processor = new BatchProcessor(client, {
      maxCount: 20,
      maxInFlight: 6,
      maxBuffered: 300,
      maxWaitMs: 5,
    })
    proxy.mishaps.push(
      ...upTo(40).map((index) => ({ kind: (["lose", "refuse", "cut"] as const)[index % 3] ?? "lose" })),
    )
    rig.endpoint.faults.loseAnswers = 15
    for (const index of upTo(2000)) await processor.add(signal(index))
    await processor.close()
    expect(await stored()).toEqual(upTo(2000))
  })
})

describe("close", () => {
  it("sends every signal whose add was called before it, including those that wait for room", async () => {
    const processor = new BatchProcessor(client, {
      maxCount: 2,
      maxBuffered: 2,
      maxInFlight: 1,
      maxWaitMs: 60_000,
    })
    const accepted: number[] = []
    const adding = upTo(7).map((index) => processor.add(signal(index)).then(() => accepted.push(index)))
    await processor.close()
    await Promise.all(adding)
    expect(accepted).toEqual(upTo(7))
    expect(await stored()).toEqual(upTo(7))
  })

  it("ends at its deadline: it reports unsent batches, and waiting adds reject", async () => {
    proxy.mishaps.push(...upTo(100).map(() => ({ kind: "refuse" as const })))
    const undelivered: Undelivered[] = []
    const processor = new BatchProcessor(client, {
      maxCount: 2,
      maxBuffered: 4,
      maxInFlight: 1,
      closeDeadlineMs: 300,
      onUndelivered: (batch) => undelivered.push(batch),
    })
    const adding = Promise.allSettled(upTo(7).map((index) => processor.add(signal(index))))
    await processor.close()
    expect((await adding).map(({ status }) => status)).toEqual([
      ...upTo(4).map(() => "fulfilled"),
      ...upTo(3).map(() => "rejected"),
    ])
    expect(
      undelivered
        .flatMap(({ signals }) => signals)
        .map(({ raw_content }) => Number(raw_content))
        .sort(),
    ).toEqual(upTo(4))
    expect(undelivered[0]?.error.message).toContain("closeDeadlineMs")
    expect(await stored()).toEqual([])
  })
})

describe("the buffer of a BatchProcessor", () => {
  it("is bounded in bytes", async () => {
    const processor = new BatchProcessor(client, { maxBufferedBytes: 2500, maxInFlight: 1, maxWaitMs: 10 })
    await rig.endpoint.faults.refuse()
    let accepted = 0
    const large = (index: number) => ({ ...signal(index), diagnostic_notes: "é".repeat(500) })
    const adding = Promise.all(upTo(6).map((index) => processor.add(large(index)).then(() => accepted++)))
    await expect.poll(() => proxy.seen.length).toBeGreaterThan(0)
    expect(accepted).toBe(2)
    await rig.endpoint.faults.accept()
    await adding
    await processor.close()
    expect(await stored()).toEqual(upTo(6))
  })

  it("accepts a signal that is larger than the whole buffer when the buffer is empty", async () => {
    const processor = new BatchProcessor(client, { maxBufferedBytes: 100, maxWaitMs: 10 })
    for (const index of upTo(3)) await processor.add({ ...signal(index), diagnostic_notes: "x".repeat(500) })
    await processor.close()
    expect(await stored()).toEqual(upTo(3))
  })

  it("lets a bounded number of adds wait, and rejects the next", async () => {
    const processor = new BatchProcessor(client, { maxBuffered: 2, maxWaitingAdds: 3, maxWaitMs: 60_000 })
    const results = await Promise.all(
      upTo(6).map((index) =>
        processor.add(signal(index)).then(
          () => "accepted",
          (error: Error) => error.message,
        ),
      ),
    )
    expect(results.filter((result) => result === "accepted")).toHaveLength(5)
    expect(results[5]).toContain("3 calls of add already wait")
    await processor.close()
    expect(await stored()).toEqual(upTo(5))
  })

  it.each([
    ["maxCount", 0],
    ["maxCount", 10_001],
    ["maxInFlight", 0],
    ["maxBuffered", Number.NaN],
    ["maxWaitMs", 2 ** 31],
    ["closeDeadlineMs", Number.POSITIVE_INFINITY],
    ["deadlineMs", 0],
    ["giveUpMs", 518_400_001],
  ])("refuses %s: %d", (name, value) => {
    expect(() => new BatchProcessor(client, { [name]: value })).toThrow(`${name} must be`)
  })
})
