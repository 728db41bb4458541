import { describe, expect, it } from "vitest"
import { type Amounts, DayQuota, type Lease } from "../../../src/isolate/day-quota.ts"

const DAY = Date.UTC(2025, 0, 15)
const LIMITS = { signals: 10_000, bytes: null }

/** The sums that all isolates of a test lease from, and their clock. */
function stand() {
  const state = { now: DAY, isAway: false, sums: new Map<string, Amounts>(), leases: [] as Lease[] }
  const pending: Promise<unknown>[] = []
  const isolate = () =>
    new DayQuota({
      async take(lease) {
        if (state.isAway) throw new Error("away")
        state.leases.push(lease)
        const account = `${lease.name} ${lease.day}`
        const { signals, bytes } = state.sums.get(account) ?? { signals: 0, bytes: 0 }
        const sums = { signals: signals + lease.signals, bytes: bytes + lease.bytes }
        state.sums.set(account, sums)
        return sums
      },
      keepAlive: (work) => pending.push(work),
      now: () => state.now,
    })
  return { state, isolate, settled: () => Promise.all(pending) }
}

describe("a limit for a day", () => {
  it("lets through as much as it names, with one lease for a hundredth", async () => {
    const { state, isolate, settled } = stand()
    const quota = isolate()
    let passed = 0
    for (let turn = 0; turn < 20_000; turn++) {
      if (!quota.spend("a", LIMITS, { signals: 1, bytes: 100 })) passed++
      await settled()
    }
    expect(passed).toBe(10_000)
    expect(state.leases.length).toBeLessThan(250)
    expect(state.leases.every(({ bytes }) => bytes === 0)).toBe(true)
  })

  it("of ten isolates is passed by less than a hundredth for each", async () => {
    const { isolate, settled } = stand()
    const quotas = Array.from({ length: 10 }, isolate)
    let passed = 0
    for (let turn = 0; turn < 3000; turn++)
      for (const quota of quotas) {
        if (!quota.spend("a", LIMITS, { signals: 7, bytes: 0 })) passed += 7
        await settled()
      }
    expect(passed).toBeGreaterThan(8900)
    expect(passed).toBeLessThanOrEqual(11_000)
  })

  it("is that of the caller, and says when the next day begins", async () => {
    const { state, isolate, settled } = stand()
    const quota = isolate()
    quota.spend("a", { signals: 5, bytes: null }, { signals: 5, bytes: 0 })
    await settled()
    state.now = DAY + 60 * 60 * 1000
    expect(quota.spend("a", { signals: 5, bytes: null }, { signals: 1, bytes: 0 })).toEqual({
      limit: "signals",
      retryAfterSeconds: 23 * 60 * 60,
    })
    expect(quota.spend("b", { signals: 5, bytes: null }, { signals: 1, bytes: 0 })).toBeUndefined()
    state.now = DAY + 24 * 60 * 60 * 1000
    expect(quota.spend("a", { signals: 5, bytes: null }, { signals: 1, bytes: 0 })).toBeUndefined()
  })

  it("counts bytes by themselves, and takes a higher limit at once", async () => {
    const { isolate, settled } = stand()
    const quota = isolate()
    const limits = { signals: null, bytes: 1000 }
    expect(quota.spend("a", limits, { signals: 1_000_000, bytes: 1000 })).toBeUndefined()
    await settled()
    expect(quota.spend("a", limits, { signals: 0, bytes: 1 })).toMatchObject({ limit: "bytes" })
    expect(quota.spend("a", { signals: null, bytes: 2000 }, { signals: 0, bytes: 1 })).toBeUndefined()
  })

  it("stops nobody while no lease can be taken, and asks at most every 30 seconds", async () => {
    const { state, isolate, settled } = stand()
    const quota = isolate()
    state.isAway = true
    for (let second = 0; second < 100; second++) {
      expect(quota.spend("a", LIMITS, { signals: 1000, bytes: 0 })).toBeUndefined()
      await settled()
      state.now += 1000
    }
    state.isAway = false
    state.now += 30_000
    quota.spend("a", LIMITS, { signals: 1, bytes: 0 })
    await settled()
    // What was used meanwhile is settled with the first lease.
    expect(quota.spend("a", LIMITS, { signals: 1, bytes: 0 })).toMatchObject({ limit: "signals" })
  })

  it("remembers a bounded number of callers", async () => {
    const { isolate, settled } = stand()
    const quota = isolate()
    const limits = { signals: 1, bytes: null }
    for (let caller = 0; caller < 2001; caller++)
      quota.spend(`caller ${caller}`, limits, { signals: 1, bytes: 0 })
    await settled()
    expect(quota.spend("caller 2000", limits, { signals: 1, bytes: 0 })).toBeDefined()
    expect(quota.spend("caller 0", limits, { signals: 1, bytes: 0 })).toBeUndefined()
  })
})
