import { afterEach, describe, expect, it, vi } from "vitest"
import { MetricsUnavailable } from "../../../src/metrics/analytics.ts"

type Module = typeof import("../../../src/metrics/shared-answer.ts")

/** The module as another isolate of the same location has it: the cache is the same, the memory is not. */
async function isolate(): Promise<Module["sharedAnswer"]> {
  vi.resetModules()
  return (await import("../../../src/metrics/shared-answer.ts")).sharedAnswer
}

const name = () => `test/${crypto.randomUUID()}`

/** Makes answers that differ, and counts them. */
function maker() {
  const make = vi.fn(async () => `answer ${make.mock.calls.length}`)
  return make
}

describe("a shared answer", () => {
  afterEach(() => vi.useRealTimers())

  it("is computed once for any number of readers at the same time", async () => {
    const [shared, make, of] = [await isolate(), maker(), name()]
    const read = await Promise.all(Array.from({ length: 50 }, () => shared(of, 10, make)))
    expect(new Set(read)).toEqual(new Set(["answer 1"]))
    expect(make).toHaveBeenCalledTimes(1)
  })

  it("is computed again when it is too old", async () => {
    const [shared, make, of] = [await isolate(), maker(), name()]
    expect(await shared(of, 1, make)).toBe("answer 1")
    await new Promise((resolve) => setTimeout(resolve, 1100))
    expect(await shared(of, 1, make)).toBe("answer 2")
  })

  it("reaches the other isolates of the location through the cache, without a longer lifetime", async () => {
    const [make, of] = [maker(), name()]
    const ageLimitMs = 60_000
    const madeAt = Date.now()
    expect(await (await isolate())(of, ageLimitMs / 1000, make)).toBe("answer 1")
    const later = await isolate()
    vi.useFakeTimers({ toFake: ["Date"] })
    vi.setSystemTime(madeAt + ageLimitMs / 2)
    expect(await later(of, ageLimitMs / 1000, make)).toBe("answer 1")
    // The later isolate has read the answer at half its age, and keeps it for the other half only.
    await caches.default.delete(`https://metrics.signal-ingest.invalid/${of}`)
    vi.setSystemTime(Date.now() + ageLimitMs)
    expect(await later(of, ageLimitMs / 1000, make)).toBe("answer 2")
  })

  it("differs between names", async () => {
    const [shared, make] = [await isolate(), maker()]
    expect([await shared(name(), 10, make), await shared(name(), 10, make)]).toEqual(["answer 1", "answer 2"])
  })

  it("can be an error, so that a failing API is not called more often", async () => {
    const [shared, of] = [await isolate(), name()]
    const make = vi.fn(() => Promise.reject(new MetricsUnavailable("Analytics Engine answered 429.")))
    for (let reader = 0; reader < 5; reader++)
      await expect(shared(of, 1, make)).rejects.toThrow("answered 429")
    expect(make).toHaveBeenCalledTimes(1)
    await new Promise((resolve) => setTimeout(resolve, 1100))
    await expect(shared(of, 1, make)).rejects.toThrow("answered 429")
    expect(make).toHaveBeenCalledTimes(2)
  })
})
