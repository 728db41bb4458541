import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { afterFailure, GIVE_UP_MS, retryAfterMs, statusError } from "../../../src/subscriptions/plan.ts"

const HOUR_MS = 3_600_000
const answer = { status: 500, retryAfterMs: undefined }
const at = (nowMs: number, random = 0) => ({ nowMs, random })
const waits = (failedAttempts: number, random = 0, asked?: number) => {
  const failing = { failedAttempts, failingSinceMs: 0 }
  const after = afterFailure(failing, { ...answer, retryAfterMs: asked }, at(1, random))
  return after.state === "active" ? after.waitMs : undefined
}

describe("after a failure", () => {
  it("the wait doubles from 5 seconds, up to an hour", () => {
    expect([0, 1, 2, 3].map((attempts) => waits(attempts))).toEqual([5000, 10_000, 20_000, 40_000])
    expect(waits(40, 1)).toBe(HOUR_MS)
  })

  it("the wait stays between 5 seconds and an hour, whatever the number and the jitter are", () => {
    fc.assert(
      fc.property(fc.nat(2000), fc.double({ min: 0, max: 1, noNaN: true }), (attempts, random) => {
        expect(waits(attempts, random)).toBeGreaterThanOrEqual(5000)
        expect(waits(attempts, random)).toBeLessThanOrEqual(HOUR_MS)
      }),
    )
  })

  it("a receiver that asks for a longer wait gets it, up to an hour", () => {
    expect(waits(0, 0, 60_000)).toBe(60_000)
    expect(waits(0, 0, 1000)).toBe(5000)
    expect(waits(0, 0, 900 * HOUR_MS)).toBe(HOUR_MS)
  })

  it("it is disabled after three days, and not before", () => {
    const state = (nowMs: number) =>
      afterFailure({ failedAttempts: 90, failingSinceMs: 0 }, answer, at(nowMs)).state
    expect(state(GIVE_UP_MS - 1)).toBe("active")
    expect(state(GIVE_UP_MS)).toBe("disabled")
    expect(afterFailure({ failedAttempts: 0, failingSinceMs: null }, answer, at(9e12)).state).toBe("active")
  })

  it("it is disabled at once when the address is gone, or nothing can help", () => {
    const failing = { failedAttempts: 0, failingSinceMs: null }
    expect(afterFailure(failing, { ...answer, status: 410 }, at(0)).state).toBe("disabled")
    expect(afterFailure(failing, { ...answer, isFinal: true }, at(0)).state).toBe("disabled")
  })
})

describe("a status", () => {
  it.each([200, 201, 202, 204, 299])("%i accepts", (status) => expect(statusError(status)).toBeUndefined())
  it.each([301, 302, 307, 308])("%i is a redirect, which is not followed", (status) =>
    expect(statusError(status)).toMatch(/redirect/),
  )
  it.each([100, 400, 404, 429, 500, 503])("%i does not accept", (status) =>
    expect(statusError(status)).toBe(`HTTP ${status}`),
  )
})

it("Retry-After is read in seconds only", () => {
  expect(["5", "0", "-1", "x", "Wed, 21 Oct 2026 07:28:00 GMT", null].map(retryAfterMs)).toEqual([
    5000,
    0,
    ...Array(4).fill(undefined),
  ])
})
