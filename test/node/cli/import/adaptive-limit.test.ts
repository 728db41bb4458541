import { describe, expect, it } from "vitest"
import { AdaptiveLimit } from "../../../../src/cli/import/adaptive-limit.ts"

describe("the limit of batches in flight", () => {
  it("admits at most its size", async () => {
    const limit = new AdaptiveLimit(2)
    const entered: number[] = []
    const entering = [0, 1, 2].map((index) => limit.enter().then(() => entered.push(index)))
    await Promise.all(entering.slice(0, 2))
    expect(entered).toEqual([0, 1])
    limit.leave()
    await Promise.all(entering)
    expect(entered).toEqual([0, 1, 2])
  })

  it("is halved on overload, never below one, and grows by one for each round of successes", async () => {
    const limit = new AdaptiveLimit(8)
    const sizes = []
    for (let time = 0; time < 4; time++) {
      limit.shrink()
      sizes.push(limit.size)
    }
    expect(sizes).toEqual([4, 2, 1, 1])
    for (let success = 0; success < 1 + 2 + 3; success++) limit.grow()
    expect(limit.size).toBe(3)
    for (let success = 0; success < 1000; success++) limit.grow()
    expect(limit.size).toBe(8)
  })

  it("admits nothing while more are in flight than it allows", async () => {
    const limit = new AdaptiveLimit(4)
    for (let index = 0; index < 4; index++) await limit.enter()
    limit.shrink()
    let entered = false
    const entering = limit.enter().then(() => {
      entered = true
    })
    limit.leave()
    limit.leave()
    await Promise.resolve()
    expect(entered).toBe(false)
    limit.leave()
    await entering
    expect(entered).toBe(true)
  })
})
