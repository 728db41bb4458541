import { describe, expect, it } from "vitest"
import { Places } from "../../../../src/http/readers/places.ts"

describe("places of readers", () => {
  it("are bounded, and are free again when a reader leaves or has not been seen for long", () => {
    const places = new Places({ most: 2, goneAfterMs: 1000 })
    const now = Date.now()
    const first = places.take(now)
    const second = places.take(now)
    expect([first, second, places.take(now)]).toEqual([expect.anything(), expect.anything(), undefined])
    first?.leave()
    expect(places.take(now + 500)).toBeDefined()
    expect(places.take(now + 600)).toBeUndefined()
    expect(places.take(now + 1200)).toBeDefined()
  })
})
