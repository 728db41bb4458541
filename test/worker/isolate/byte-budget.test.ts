import { afterEach, describe, expect, it, vi } from "vitest"
import { ByteBudget, type Claim, newClaim } from "../../../src/isolate/byte-budget.ts"

const budgetOf = (options = {}) =>
  new ByteBudget({
    bytes: 100,
    largeBytes: 80,
    smallBytes: 10,
    waiters: 3,
    waitMs: 2000,
    largeClaims: 8,
    smallTotalBytes: 100,
    standingMs: 60_000,
    patienceMs: () => 100,
    claimMs: 60_000,
    ...options,
  })

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function held(budget: ByteBudget, bytes: number): Promise<Claim> {
  const claim = newClaim()
  expect(await budget.grow(claim, bytes)).toBe(true)
  return claim
}

afterEach(() => {
  vi.useRealTimers()
})

describe("a budget of bytes", () => {
  it("admits claims that fit, and reuses released bytes", async () => {
    const budget = budgetOf()
    const claims = [await held(budget, 40), await held(budget, 40)]
    expect(budget.held).toBe(80)
    expect(budget.growAtOnce(newClaim(), 40)).toBe(false)
    for (const claim of claims) budget.release(claim)
    expect(budget.held).toBe(0)
    expect(budget.growAtOnce(newClaim(), 40)).toBe(true)
  })

  it("admits a bounded number of large claims, however few bytes they have, and small ones beside them", async () => {
    const budget = budgetOf({ largeClaims: 2, waitMs: 50 })
    const first = await held(budget, 11)
    await held(budget, 11)
    expect(await budget.grow(newClaim(), 11)).toBe(false)
    await held(budget, 10)
    budget.release(first)
    await held(budget, 11)
  })

  it("admits small claims up to a total of their own, and lets each of them grow", async () => {
    const budget = budgetOf({ smallTotalBytes: 25, waitMs: 50 })
    const claims = [await held(budget, 10), await held(budget, 10)]
    expect(await budget.grow(newClaim(), 10)).toBe(false)
    await held(budget, 5)
    const [first, second] = claims as [Claim, Claim]
    expect(await budget.grow(first, 30)).toBe(true)
    budget.release(first)
    budget.release(second)
    expect([await held(budget, 10), await held(budget, 10)].length).toBe(2)
    expect(budget.held).toBe(25)
  })

  it("serves all waiters for which released bytes suffice at once", async () => {
    const budget = budgetOf({ waiters: 3 })
    const claim = await held(budget, 80)
    const waiting = [30, 20, 40].map((bytes) => budget.grow(newClaim(), bytes))
    budget.release(claim)
    expect(budget.held).toBe(50)
    expect(await Promise.all(waiting.slice(0, 2))).toEqual([true, true])
    expect(await waiting[2]).toBe(false)
  })

  it("lets requests wait for a short time only when the line has not been empty for a while", async () => {
    const budget = budgetOf({ waitMs: 60_000, standingMs: 100, patienceMs: (bytes: number) => bytes })
    await held(budget, 80)
    const waiting = [budget.grow(newClaim(), 80), budget.grow(newClaim(), 70)]
    expect(await Promise.all(waiting)).toEqual([false, false])
    const claim = await held(budget, 10)
    budget.release(claim)
  })

  it("lets a claim grow for its whole time, however long the line has stood", async () => {
    const budget = budgetOf({ standingMs: 20, patienceMs: () => 10 })
    const [claim, other] = [await held(budget, 40), await held(budget, 40)]
    const grown = budget.grow(claim, 60)
    await sleep(60)
    budget.release(other)
    expect(await grown).toBe(true)
  })

  it("releases a claim once", async () => {
    const budget = budgetOf()
    const claim = await held(budget, 40)
    await held(budget, 40)
    budget.release(claim)
    budget.release(claim)
    expect(budget.held).toBe(40)
  })

  it("serves waiters in order of arrival", async () => {
    const budget = budgetOf()
    const first = await held(budget, 80)
    const order: string[] = []
    const waiting = ["second", "third", "fourth"].map(async (name) => {
      const claim = await held(budget, 80)
      order.push(name)
      budget.release(claim)
    })
    budget.release(first)
    await Promise.all(waiting)
    expect(order).toEqual(["second", "third", "fourth"])
  })

  it("does not let a newcomer pass waiters of its size", async () => {
    const budget = budgetOf()
    const first = await held(budget, 50)
    const second = held(budget, 80)
    expect(budget.growAtOnce(newClaim(), 20)).toBe(false)
    budget.release(first)
    await second
  })

  it("keeps room for small claims, which pass waiting large ones", async () => {
    const budget = budgetOf({ waitMs: 50 })
    await held(budget, 80)
    const large = budget.grow(newClaim(), 20)
    await held(budget, 10)
    await held(budget, 10)
    expect(await large).toBe(false)
    expect(budget.growAtOnce(newClaim(), 1)).toBe(false)
  })

  it("lets a claim grow before others begin, with the room of small ones", async () => {
    const budget = budgetOf({ waitMs: 50 })
    const claim = await held(budget, 80)
    const other = budget.grow(newClaim(), 20)
    expect(await budget.grow(claim, 20)).toBe(true)
    expect(await other).toBe(false)
    expect([claim.bytes, budget.held]).toEqual([100, 100])
  })

  it("refuses after its time, and holds nothing then", async () => {
    const budget = budgetOf({ waitMs: 30 })
    await held(budget, 80)
    const claim = newClaim()
    expect(await budget.grow(claim, 40)).toBe(false)
    expect([claim.bytes, budget.held]).toEqual([0, 80])
  })

  it("refuses at once when too many wait, except for a claim that grows", async () => {
    const budget = budgetOf({ waitMs: 300 })
    const claim = await held(budget, 80)
    const waiting = [1, 2, 3].map(() => budget.grow(newClaim(), 80))
    const refused = budget.grow(newClaim(), 80)
    const early = await Promise.race([refused, sleep(100).then(() => "late")])
    expect(early).toBe(false)
    expect(await budget.grow(claim, 20)).toBe(true)
    expect(await Promise.all(waiting)).toEqual([false, false, false])
  })

  it("expires a claim whose request has ended without a release", async () => {
    const budget = budgetOf({ claimMs: 20 })
    await held(budget, 80)
    await sleep(40)
    expect(budget.growAtOnce(newClaim(), 80)).toBe(true)
    expect(budget.held).toBe(80)
  })

  it("returns a part of a claim", async () => {
    const budget = budgetOf()
    const claim = await held(budget, 80)
    budget.shrink(claim, 30)
    budget.shrink(claim, 50)
    expect([claim.bytes, budget.held]).toEqual([30, 30])
  })
})
