import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { countContainers, MAX_CONTAINERS, TooManyContainers } from "../../../src/signals/json.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

/** How many objects and arrays there are, counted where they are built. */
function containersIn(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0
  return 1 + Object.values(value).reduce((sum: number, one) => sum + containersIn(one), 0)
}

describe("the count of a body's objects and arrays", () => {
  it("is never too low, at any offset of the bytes in their buffer", () =>
    fc.assert(
      fc.property(fc.json(), fc.nat(7), (text, offset) => {
        const buffer = new Uint8Array([...new Uint8Array(offset), ...bytes(text)])
        expect(countContainers(buffer.subarray(offset))).toBeGreaterThanOrEqual(
          containersIn(JSON.parse(text)),
        )
      }),
    ))

  it.each(["[]", "{}"])("may be %s up to the limit, and no more", (one) => {
    const many = (count: number) => bytes(`[${Array(count).fill(one).join()}]`)
    expect(countContainers(many(MAX_CONTAINERS - 1))).toBe(MAX_CONTAINERS)
    expect(() => countContainers(many(MAX_CONTAINERS))).toThrow(TooManyContainers)
  })

  it("leaves out brackets in texts when there would be too many", () => {
    const text = JSON.stringify([`"\\[${"[{".repeat(MAX_CONTAINERS)}`, []])
    expect(countContainers(bytes(text))).toBe(2)
  })
})
