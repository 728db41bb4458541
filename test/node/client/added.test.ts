import { afterAll, beforeAll, describe, expect, it } from "vitest"
import {
  BatchProcessor,
  InvalidSignalError,
  type NewSignal,
  SignalClient,
  type Undelivered,
  type Unstored,
} from "../../../src/client/index.ts"
import { openSpool } from "../../../src/client/spool/spool.ts"
import { storedNumbers, upTo, useEmptyTables, useFolder, useProxy, useRig } from "../../setup/hooks/rig.ts"
import { failureOf } from "./failure-of.ts"

const rig = useRig()
const proxy = useProxy(rig)
const folder = useFolder()
useEmptyTables(rig)
let client: SignalClient
const unhandled: unknown[] = []
const remember = (reason: unknown) => unhandled.push(reason)

beforeAll(() => {
  process.on("unhandledRejection", remember)
  client = new SignalClient({ url: proxy.address })
})
afterAll(() => {
  process.off("unhandledRejection", remember)
  expect(unhandled).toEqual([])
})

const signal = (index: number, more: object = {}) =>
  ({ context_window_id: "conv-added", raw_content: String(index), ...more }) as NewSignal & {
    payload?: Record<string, unknown>
  }
const payloads = () =>
  rig.query<{ payload: string }>("select payload::text from signals order by raw_content::int")

/** Reports of a processor. */
function reports() {
  const failures: Unstored[] = []
  const undelivered: Undelivered[] = []
  const callbacks = {
    onFailure: (failure: Unstored) => failures.push(failure),
    onUndelivered: (batch: Undelivered) => undelivered.push(batch),
  }
  return { failures, undelivered, callbacks }
}

describe("an object that is used again after add", () => {
  it.each([
    ["one batch", {}],
    ["a batch for each signal", { maxCount: 1 }],
    ["calls that wait for room", { maxBuffered: 1, maxCount: 1, maxInFlight: 1 }],
  ])("is stored as it was when it was added: %s", async (_, options) => {
    await using processor = new BatchProcessor(client, options)
    const reused = signal(0, { payload: { n: 0 } })
    for (const index of upTo(5)) {
      reused.raw_content = String(index)
      Object.assign(reused.payload ?? {}, { n: index })
      await processor.add(reused)
    }
    await processor.flush()
    expect(await storedNumbers(rig)).toEqual(upTo(5))
    expect(await payloads()).toEqual(upTo(5).map((n) => ({ payload: `{"n": ${n}}` })))
  })

  it("is stored as it was, even when nobody awaits add", async () => {
    await using processor = new BatchProcessor(client)
    const reused = signal(0)
    for (const index of upTo(5)) {
      reused.raw_content = String(index)
      void processor.add(reused)
    }
    await processor.close()
    expect(await storedNumbers(rig)).toEqual(upTo(5))
  })

  it("has the same text on disk, in the first request and in that of the next run", async () => {
    proxy.mishaps.push(...upTo(50).map(() => ({ kind: "lose" as const })))
    const losing = new SignalClient({ url: proxy.address, deadlineMs: 300 })
    const first = new BatchProcessor(losing, {
      spool: await openSpool(folder.path),
      closeDeadlineMs: 500,
      onUndelivered: () => {},
    })
    const reused = signal(0, { payload: { n: 10n ** 20n } })
    for (const index of upTo(3)) {
      reused.raw_content = String(index)
      await first.add(reused)
    }
    await first.close()
    proxy.mishaps.length = 0
    // The service refuses another text under the key of the first run.
    await new BatchProcessor(client, { spool: await openSpool(folder.path) }).close()
    expect(await storedNumbers(rig)).toEqual(upTo(3))
    expect(new Set(proxy.seen.map(({ headers }) => headers["idempotency-key"])).size).toBe(1)
    expect((await payloads())[0]).toEqual({ payload: '{"n": 100000000000000000000}' })
  })

  it("is reported to onFailure as it was", async () => {
    const { failures, callbacks } = reports()
    await using processor = new BatchProcessor(client, callbacks)
    const reused = signal(0, { signal_score: 2, payload: { n: 12_345_678_901_234_567_890n } })
    await processor.add(reused)
    reused.raw_content = "changed"
    await processor.flush()
    expect(failures.map(({ signal }) => signal)).toEqual([
      signal(0, { signal_score: 2, payload: { n: 12_345_678_901_234_567_890n } }),
    ])
  })
})

const cyclic = () => {
  const payload: Record<string, unknown> = {}
  payload.self = payload
  return { payload }
}
class Point {
  x = Number.NaN
}
/** Values that JSON would change or lose silently, with the field that the error names. */
const UNSENDABLE: [string, () => object, string][] = [
  ["NaN as a score", () => ({ signal_score: Number("x") }), "signal_score is NaN"],
  ["an infinite tone", () => ({ emotional_tone: 1 / 0 }), "emotional_tone is Infinity"],
  ["a flag that is not a number", () => ({ escalate_flag: Number("x") }), "escalate_flag is NaN"],
  ["a time that cannot be read", () => ({ timestamp: Date.parse("15/01/2025") }), "timestamp is NaN"],
  ["an invalid Date", () => ({ timestamp: new Date("x") as never }), "timestamp is an invalid Date"],
  ["an invalid Date in the payload", () => ({ payload: { at: [new Date(Number.NaN)] } }), "payload.at[0]"],
  ["-Infinity in a list", () => ({ payload: { list: [1, -1 / 0] } }), "payload.list[1] is -Infinity"],
  ["undefined in a list", () => ({ payload: { list: [1, undefined] } }), "payload.list[1] is undefined"],
  ["a hole in a list", () => ({ payload: { list: new Array(2) } }), "payload.list[0] is undefined"],
  ["a function", () => ({ payload: { f: () => 1 } }), "payload.f is a function"],
  ["a symbol", () => ({ payload: { s: Symbol("s") } }), "payload.s is a symbol"],
  ["a Map", () => ({ payload: { map: new Map([[1, 2]]) } }), "payload.map is a Map"],
  ["bytes", () => ({ payload: { bytes: new Uint8Array(2) } }), "payload.bytes is a Uint8Array"],
  ["an Error", () => ({ payload: { error: new Error("x") } }), "payload.error is a Error"],
  ["a promise", () => ({ payload: { promise: Promise.resolve(1) } }), "payload.promise is a Promise"],
  ["a cycle", cyclic, "payload contains itself"],
  ["half of a surrogate pair", () => ({ raw_content: "a\ud800" }), "raw_content holds half"],
  ["half of one in a name", () => ({ payload: { "\udc00": 1 } }), "payload holds half"],
  ["NaN in an instance", () => ({ payload: { point: new Point() } }), "payload.point.x is NaN"],
  ["NaN from toJSON", () => ({ payload: { a: { toJSON: () => Number.NaN } } }), "payload.a is NaN"],
  ["nothing from toJSON", () => ({ payload: { a: { toJSON: () => undefined } } }), "payload.a is undefined"],
  [
    "an error from toJSON",
    () => ({
      payload: {
        a: {
          toJSON() {
            throw new Error("x")
          },
        },
      },
    }),
    "payload.a has a toJSON that throws",
  ],
]

describe("a value that JSON cannot hold", () => {
  it.each(UNSENDABLE)(
    "fails in add, create and createBatch, by the name of its field: %s",
    async (_, more, words) => {
      await using processor = new BatchProcessor(client)
      const wrong = signal(1, more())
      for (const call of [
        processor.add(wrong),
        client.create(wrong),
        client.createBatch([signal(0), wrong]),
      ]) {
        const error = await failureOf(call)
        expect(error).toBeInstanceOf(InvalidSignalError)
        expect(error.message).toContain(words)
      }
      expect((await failureOf(client.createBatch([signal(0), wrong]))).message).toContain("signals[1]")
      await processor.close()
      expect(proxy.seen).toEqual([])
    },
  )

  it("is distinguished from values that it can hold", async () => {
    const at = new Date("2025-01-15T09:30:00.000Z")
    await using processor = new BatchProcessor(client)
    const payload = {
      ...{
        at,
        big: 2n ** 70n,
        small: 7n,
        none: undefined,
        zero: -0,
        boxed: Object(1),
        empty: {},
        url: new URL("http://a/"),
      },
      shared: [at, at],
      made: Object.assign(Object.create(null), { a: 1 }),
    }
    await processor.add(signal(0, { payload }))
    await processor.flush()
    const [row] = await payloads()
    expect(JSON.parse(row?.payload.replace("1180591620717411303424", '"2^70"') ?? "")).toEqual({
      ...{ at: at.toISOString(), big: "2^70", small: 7, zero: 0, boxed: 1, empty: {}, url: "http://a/" },
      shared: [at.toISOString(), at.toISOString()],
      made: { a: 1 },
    })
  })
})

describe("a call of add that nobody awaits", () => {
  const turn = () => new Promise((resolve) => setTimeout(resolve, 5))

  it("reports a signal that JSON cannot hold to onFailure, and one beyond the bounds to onUndelivered", async () => {
    const { failures, undelivered, callbacks } = reports()
    const processor = new BatchProcessor(client, { ...callbacks, maxBuffered: 2, maxWaitingAdds: 3 })
    void processor.add(signal(100, cyclic()))
    for (const index of upTo(8)) void processor.add(signal(index))
    await processor.close()
    await turn()
    expect(failures).toMatchObject([{ code: "too_deep", field: "payload", retryable: false }])
    expect(undelivered).toMatchObject(upTo(3).map(() => ({ count: 1, kept: false })))
    const lost = undelivered.flatMap(({ signals }) => signals.map(({ raw_content }) => Number(raw_content)))
    expect([...(await storedNumbers(rig)), ...lost].sort()).toEqual(upTo(8))
  })

  it("makes flush reject when there is no callback", async () => {
    const processor = new BatchProcessor(client)
    void processor.add(signal(0, { signal_score: Number.NaN }))
    await turn()
    await expect(processor.flush()).rejects.toBeInstanceOf(InvalidSignalError)
    await processor.close()
  })

  it("reports a signal that comes after close", async () => {
    const { undelivered, callbacks } = reports()
    const processor = new BatchProcessor(client, callbacks)
    await processor.close()
    void processor.add(signal(7))
    await turn()
    expect(undelivered).toMatchObject([
      { signals: [signal(7)], error: { message: expect.stringContaining("is closed") } },
    ])
  })

  it("is not reported twice when the caller handles it, now or a little later", async () => {
    const { failures, undelivered, callbacks } = reports()
    const processor = new BatchProcessor(client, callbacks)
    const wrong = signal(0, { signal_score: Number.NaN })
    await expect(processor.add(wrong)).rejects.toBeInstanceOf(InvalidSignalError)
    await expect(Promise.all([processor.add(signal(1)), processor.add(wrong)])).rejects.toThrow("NaN")
    await processor.add(wrong).catch(() => {})
    const later = processor.add(wrong)
    await Promise.resolve()
    await expect(later).rejects.toThrow("NaN")
    await turn()
    expect([failures, undelivered]).toEqual([[], []])
    await processor.close()
  })
})
