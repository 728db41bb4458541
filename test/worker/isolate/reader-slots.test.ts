import { describe, expect, it } from "vitest"
import { ReaderSlots } from "../../../src/isolate/reader-slots.ts"

describe("slots of readers", () => {
  it("are bounded, and are free again when a reader leaves or has not been seen for long", () => {
    const slots = new ReaderSlots({ most: 2, goneAfterMs: 1000 })
    const now = Date.now()
    const take = (at: number) => slots.take(undefined, at)
    const first = take(now)
    expect([first, take(now), take(now)]).toEqual([expect.anything(), expect.anything(), undefined])
    first?.release()
    expect(take(now + 500)).toBeDefined()
    expect(take(now + 600)).toBeUndefined()
    expect(take(now + 1200)).toBeDefined()
  })

  it("belong to one owner by half at most", () => {
    const slots = new ReaderSlots({ most: 4, goneAfterMs: 1000 })
    const [first, second] = [slots.take("a"), slots.take("a")]
    expect([first, second, slots.take("a")]).toEqual([expect.anything(), expect.anything(), undefined])
    expect([slots.take("b"), slots.take("b")]).toEqual([expect.anything(), expect.anything()])
    first?.release()
    expect(slots.take("b")).toBeUndefined()
    expect(slots.take("a")).toBeDefined()
  })

  it("count as wanted for a while after a reader was refused because all were taken", () => {
    const slots = new ReaderSlots({ most: 2, goneAfterMs: 60_000 })
    const now = Date.now()
    slots.take("a", now)
    slots.take("a", now)
    expect(slots.isWanted(now)).toBe(false)
    slots.take("b", now)
    slots.take("c", now)
    expect([slots.isWanted(now), slots.isWanted(now + 9000), slots.isWanted(now + 11_000)]).toEqual([
      true,
      true,
      false,
    ])
  })
})
