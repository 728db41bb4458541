import { describe, expect, it } from "vitest"
import { LONGEST_RETURN_SECONDS, RetryPacing } from "../../../src/isolate/retry-pacing.ts"

const START = Date.UTC(2026, 10, 1)

/** Admits so many requests a second, and returns the time after the last one. */
function admit(
  times: RetryPacing,
  from: number,
  { aSecond, seconds }: { aSecond: number; seconds: number },
): number {
  for (let number = 1; number <= aSecond * seconds; number++) times.admitted(from + (number * 1000) / aSecond)
  return from + seconds * 1000
}

/** A service that has been busy for a minute. */
function busy(aSecond: number): { times: RetryPacing; now: number } {
  const times = new RetryPacing()
  return { times, now: admit(times, START, { aSecond, seconds: 60 }) }
}

const refusals = (times: RetryPacing, now: number, count: number) =>
  Array.from({ length: count }, () => times.next(now))

describe("the times at which refused senders return", () => {
  it("follow each other at half the rate at which requests are admitted", () => {
    const { times, now } = busy(40)
    const seconds = refusals(times, now, 200)
    expect(seconds).toEqual(seconds.toSorted((a, b) => a - b))
    const aSecond = Map.groupBy(seconds, (second) => second)
    expect([...aSecond.keys()]).toEqual(Array.from({ length: 10 }, (_, index) => index + 1))
    for (const those of aSecond.values()) expect(Math.abs(those.length - 20)).toBeLessThan(3)
  })

  it("are at least a second and at most 10 seconds away, however many senders there are", () => {
    const { times, now } = busy(1000)
    expect(refusals(times, now, 10)).toEqual(Array.from({ length: 10 }, () => 1))
    expect(refusals(times, now, 100_000).at(-1)).toBe(LONGEST_RETURN_SECONDS)
    expect(times.next(now + 4000)).toBe(7)
  })

  it("are early again when the earlier senders have returned", () => {
    const { times, now } = busy(40)
    refusals(times, now, 400)
    expect(times.next(admit(times, now, { aSecond: 40, seconds: 20 }))).toBe(1)
  })

  it("are 10 seconds away while nothing is admitted", () => {
    expect(new RetryPacing().next(START)).toBe(LONGEST_RETURN_SECONDS)
    const { times, now } = busy(40)
    expect(times.next(now + 120_000)).toBe(LONGEST_RETURN_SECONDS)
  })
})
