import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { type BudgetOptions, ByteBudget, type Claim, newClaim } from "../../../src/isolate/byte-budget.ts"

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] })
})
afterEach(() => {
  vi.useRealTimers()
})

const WAIT_MS = 2000

const budgetOf = (options: Partial<BudgetOptions> = {}) =>
  new ByteBudget({
    bytes: 120,
    lanes: [
      { largestBytes: 10, bytes: 20 },
      { largestBytes: 100, bytes: 80, claims: 8 },
    ],
    growsFreely: true,
    waiters: 3,
    waitMs: WAIT_MS,
    claimMs: 60_000,
    ...options,
  })

async function held(budget: ByteBudget, bytes: number, owner?: string): Promise<Claim> {
  const claim = newClaim(owner)
  expect(await budget.grow(claim, bytes)).toBe(true)
  return claim
}

/** The result of a wait that ends now, or `waits`. */
async function soon(result: Promise<boolean>): Promise<boolean | "waits"> {
  let seen: boolean | "waits" = "waits"
  void result.then((value) => {
    seen = value
  })
  await vi.advanceTimersByTimeAsync(0)
  return seen
}

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

  it("gives each size of claims its own room and its own number of claims", async () => {
    const budget = budgetOf({
      lanes: [
        { largestBytes: 10, bytes: 20 },
        { largestBytes: 100, bytes: 80, claims: 2 },
      ],
    })
    const first = await held(budget, 11)
    await held(budget, 11)
    expect(budget.growAtOnce(newClaim(), 11)).toBe(false)
    await held(budget, 10)
    await held(budget, 10)
    expect(budget.growAtOnce(newClaim(), 1)).toBe(false)
    budget.release(first)
    await held(budget, 11)
  })

  it("serves waiters in order of arrival, as many as the released bytes allow", async () => {
    const budget = budgetOf({ waiters: 4 })
    const claim = await held(budget, 80)
    const waiting = [30, 20, 40, 20].map((bytes) => budget.grow(newClaim(), bytes))
    expect(budget.waiting).toBe(4)
    budget.release(claim)
    expect(await Promise.all(waiting.slice(0, 2))).toEqual([true, true])
    expect(budget.growAtOnce(newClaim(), 20)).toBe(false)
    await vi.advanceTimersByTimeAsync(WAIT_MS)
    expect(await Promise.all(waiting.slice(2))).toEqual([false, true])
  })

  it("lets a claim grow into all free room before others begin", async () => {
    const budget = budgetOf()
    const claim = await held(budget, 80)
    const other = budget.grow(newClaim(), 20)
    expect(await budget.grow(claim, 40)).toBe(true)
    expect([claim.bytes, budget.held]).toEqual([120, 120])
    budget.release(claim)
    expect(await other).toBe(true)
  })

  it("lets a claim grow within its lane only when it does not grow freely", async () => {
    const budget = budgetOf({ growsFreely: false })
    const oldest = await held(budget, 11)
    const claim = await held(budget, 40)
    expect(budget.growAtOnce(claim, 40)).toBe(false)
    expect(budget.growAtOnce(claim, 29)).toBe(true)
    expect(budget.growAtOnce(oldest, 30)).toBe(true)
  })

  it("lets the oldest claim grow beyond the budget, so that all do not wait for each other", async () => {
    const budget = budgetOf({ bytes: 80, growsFreely: false })
    const claims = [await held(budget, 40, "a"), await held(budget, 40, "b")] as const
    const waiting = budget.grow(claims[1], 10)
    expect(await soon(waiting)).toBe("waits")
    expect(await soon(budget.grow(claims[0], 10))).toBe(true)
    budget.release(claims[0])
    expect(await soon(waiting)).toBe(true)
  })

  it("refuses after the longest wait, and then holds nothing", async () => {
    const budget = budgetOf()
    await held(budget, 80)
    const claim = newClaim()
    const refused = budget.grow(claim, 40)
    await vi.advanceTimersByTimeAsync(WAIT_MS)
    expect([await refused, claim.bytes, budget.held, budget.waiting]).toEqual([false, 0, 80, 0])
  })

  it("refuses at once when too many wait, except for a claim that grows", async () => {
    const budget = budgetOf()
    const claim = await held(budget, 80)
    const waiting = [1, 2, 3].map(() => budget.grow(newClaim(), 80))
    expect(await soon(budget.grow(newClaim(), 80))).toBe(false)
    expect(await budget.grow(claim, 20)).toBe(true)
    expect(await soon(budget.grow(claim, 80))).toBe("waits")
    await vi.advanceTimersByTimeAsync(WAIT_MS)
    expect(await Promise.all(waiting)).toEqual([false, false, false])
  })

  it("refuses a waiter whose client disconnects", async () => {
    const budget = budgetOf()
    await held(budget, 80)
    const client = new AbortController()
    const gone = budget.grow(newClaim(), 40, client.signal)
    client.abort()
    expect([await gone, budget.waiting]).toEqual([false, 0])
  })

  it("expires a claim whose request has ended without a release", async () => {
    const budget = budgetOf({ claimMs: 20 })
    await held(budget, 80)
    await vi.advanceTimersByTimeAsync(20)
    expect(budget.growAtOnce(newClaim(), 80)).toBe(true)
    expect(budget.held).toBe(80)
  })

  it("releases a part of a claim, and all of it only once", async () => {
    const budget = budgetOf()
    const claim = await held(budget, 80)
    budget.shrink(claim, 30)
    budget.shrink(claim, 50)
    expect([claim.bytes, budget.held]).toEqual([30, 30])
    budget.release(claim)
    budget.release(claim)
    expect(budget.held).toBe(0)
  })

  it("lets no claim begin while it is closed, and lets others grow", async () => {
    let mayBegin = true
    const budget = budgetOf({ mayBegin: () => mayBegin })
    const claim = await held(budget, 20)
    mayBegin = false
    const waiting = budget.grow(newClaim(), 20)
    expect([await soon(waiting), budget.growAtOnce(claim, 20)]).toEqual(["waits", true])
    mayBegin = true
    budget.serve()
    expect(await waiting).toBe(true)
  })
})

describe("one owner of claims", () => {
  it("has at most half of the bytes of a lane, and others pass its waiters", async () => {
    const budget = budgetOf()
    const first = await held(budget, 20, "a")
    await held(budget, 20, "a")
    const third = budget.grow(newClaim("a"), 20)
    expect(await soon(third)).toBe("waits")
    await held(budget, 20, "b")
    expect(await soon(third)).toBe("waits")
    budget.release(first)
    expect(await third).toBe(true)
  })

  it("has at most half of the claims of a lane", async () => {
    const budget = budgetOf({ lanes: [{ largestBytes: 100, bytes: 100, claims: 4 }] })
    await held(budget, 1, "a")
    await held(budget, 1, "a")
    expect(budget.growAtOnce(newClaim("a"), 1)).toBe(false)
    expect(budget.growAtOnce(newClaim("b"), 1)).toBe(true)
  })

  it("has at most half of those that wait, and those do not count as waiting for others", async () => {
    const budget = budgetOf({ waiters: 4, lanes: [{ largestBytes: 100, bytes: 100 }] })
    await held(budget, 50, "a")
    const waiting = [budget.grow(newClaim("a"), 10), budget.grow(newClaim("a"), 10)]
    expect(await budget.grow(newClaim("a"), 10)).toBe(false)
    expect([budget.waiting, budget.waitingForOthers]).toEqual([2, 0])
    await held(budget, 50, "b")
    const nobodys = budget.grow(newClaim(), 10)
    expect([budget.waiting, budget.waitingForOthers]).toEqual([3, 1])
    const others = budget.grow(newClaim("c"), 10)
    expect(await soon(others)).toBe("waits")
    expect([budget.waiting, budget.waitingForOthers]).toEqual([4, 2])
    await vi.advanceTimersByTimeAsync(WAIT_MS)
    expect(await Promise.all([...waiting, nobodys, others])).toEqual([false, false, false, false])
  })

  it("may have a single claim that is larger than half", async () => {
    const budget = budgetOf()
    const claim = await held(budget, 80, "a")
    expect(budget.growAtOnce(newClaim("a"), 20)).toBe(false)
    budget.release(claim)
    expect(budget.growAtOnce(newClaim("a"), 20)).toBe(true)
  })

  it("grows beyond half when it is the oldest of its owner, so that two do not wait for each other", async () => {
    const budget = budgetOf({ growsFreely: false })
    const [first, second] = [await held(budget, 20, "a"), await held(budget, 20, "a")]
    const waiting = budget.grow(second, 10)
    expect(await soon(waiting)).toBe("waits")
    expect(await soon(budget.grow(first, 15))).toBe(true)
    budget.release(first)
    expect(await soon(waiting)).toBe(true)
  })

  it("does not grow beyond half either, where claims grow within their lane", async () => {
    const budget = budgetOf({ growsFreely: false })
    await held(budget, 20, "a")
    const claim = await held(budget, 20, "a")
    expect(budget.growAtOnce(claim, 10)).toBe(false)
    await held(budget, 40, "b")
  })
})
