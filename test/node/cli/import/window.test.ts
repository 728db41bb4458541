import { describe, expect, it } from "vitest"
import { Window } from "../../../../src/cli/import/window.ts"

describe("how many batches are under way", () => {
  it("is never more than the window", async () => {
    const window = new Window(2)
    const entered: number[] = []
    const entering = [0, 1, 2].map((place) => window.enter().then(() => entered.push(place)))
    await Promise.all(entering.slice(0, 2))
    expect(entered).toEqual([0, 1])
    window.leave()
    await Promise.all(entering)
    expect(entered).toEqual([0, 1, 2])
  })

  it("is halved when the service asks for patience, never to nothing, and grows again by one a round", async () => {
    const window = new Window(8)
    const sizes = []
    for (let time = 0; time < 4; time++) {
      window.shrink()
      sizes.push(window.size)
    }
    expect(sizes).toEqual([4, 2, 1, 1])
    for (let success = 0; success < 1 + 2 + 3; success++) window.grow()
    expect(window.size).toBe(3)
    for (let success = 0; success < 1000; success++) window.grow()
    expect(window.size).toBe(8)
  })

  it("admits no one while it is smaller than the number in flight", async () => {
    const window = new Window(4)
    for (let place = 0; place < 4; place++) await window.enter()
    window.shrink()
    let entered = false
    const entering = window.enter().then(() => {
      entered = true
    })
    window.leave()
    window.leave()
    await Promise.resolve()
    expect(entered).toBe(false)
    window.leave()
    await entering
    expect(entered).toBe(true)
  })
})
