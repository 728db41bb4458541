import { describe, expect, it } from "vitest"
import { ReaderSlots } from "../../../src/isolate/reader-slots.ts"

describe("slots of readers", () => {
  it("are bounded, and are free again when a reader leaves or has not been seen for long", () => {
    const slots = new ReaderSlots({ most: 2, goneAfterMs: 1000 })
    const now = Date.now()
    const first = slots.take(now)
    const second = slots.take(now)
    expect([first, second, slots.take(now)]).toEqual([expect.anything(), expect.anything(), undefined])
    first?.release()
    expect(slots.take(now + 500)).toBeDefined()
    expect(slots.take(now + 600)).toBeUndefined()
    expect(slots.take(now + 1200)).toBeDefined()
  })
})
