import { describe, expect, it } from "vitest"
import { Entrance, type Inside } from "../../../src/isolate/entrance.ts"

const START = Date.UTC(2026, 10, 1)

/** Lets in as many of a thousand requests as may enter. */
const enter = (entrance: Entrance, now = START): Inside[] =>
  Array.from({ length: 1000 }, () => entrance.enter(now)).filter((inside) => inside !== undefined)

const leave = (entrance: Entrance, inside: readonly Inside[]) => {
  for (const request of inside) entrance.leave(request)
}

describe("the requests inside an isolate", () => {
  it("are at most 512 while the event loop is in time", () => {
    const entrance = new Entrance()
    const inside = enter(entrance)
    expect(inside.length).toBe(512)
    leave(entrance, inside.slice(0, 10))
    entrance.turn(300, START)
    expect(enter(entrance).length).toBe(10)
  })

  it("are seven tenths of those inside after a late turn, and at least 32", () => {
    const entrance = new Entrance()
    leave(entrance, enter(entrance).slice(100))
    entrance.turn(301, START)
    expect(enter(entrance).length).toBe(0)
    const crowded = new Entrance()
    const inside = enter(crowded)
    crowded.turn(301, START)
    leave(crowded, inside)
    expect(enter(crowded).length).toBe(358)
    const others = new Entrance()
    for (let turn = 0; turn < 20; turn++) others.turn(60_000, START)
    expect(enter(others).length).toBe(32)
  })

  it("are more again when turns are in time", () => {
    const entrance = new Entrance()
    entrance.turn(1000, START)
    const counts = Array.from({ length: 14 }, () => {
      entrance.turn(0, START)
      const inside = enter(entrance)
      leave(entrance, inside)
      return inside.length
    })
    expect(counts.slice(0, 3)).toEqual([40, 50, 63])
    expect(counts.at(-1)).toBe(512)
  })

  it("do not count for more than 20 seconds when the runtime has ended them without a word", () => {
    const entrance = new Entrance()
    enter(entrance)
    entrance.turn(0, START + 19_999)
    expect(enter(entrance, START + 19_999).length).toBe(0)
    entrance.turn(0, START + 20_000)
    expect(enter(entrance, START + 20_000).length).toBe(512)
  })
})
