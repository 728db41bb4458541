import fc from "fast-check"
import { describe, expect, it } from "vitest"
import {
  countContainers,
  MAX_CONTAINERS,
  MAX_RAW_NUMBERS,
  parseJson,
  parseNdjson,
  readBody,
  TooManyContainers,
} from "../../../src/signals/json.ts"

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

describe("numbers that a double cannot hold", () => {
  const list = (count: number) => `[${Array(count).fill("1e999").join()}]`

  it("are at most so many in a text", () => {
    expect(() => parseJson(list(MAX_RAW_NUMBERS))).not.toThrow()
    expect(() => parseJson(list(MAX_RAW_NUMBERS + 1))).toThrow(TooManyContainers)
  })

  it("are at most so many in all texts of a body together", () => {
    const half = list(MAX_RAW_NUMBERS / 2)
    const read = (times: number) =>
      readBody(() => {
        for (let time = 0; time < times; time++) parseJson(half)
      })
    expect(() => read(2)).not.toThrow()
    expect(() => read(3)).toThrow(TooManyContainers)
    expect(() => readBody(() => parseNdjson(`${half}\n${half}\n${half}`, 10, { lenient: true }))).toThrow(
      TooManyContainers,
    )
    expect(() => parseJson(half)).not.toThrow()
  })

  it("are not counted when they are texts", () => {
    const texts = JSON.stringify(Array(MAX_RAW_NUMBERS + 1).fill("1e999"))
    expect(() => parseJson(texts)).not.toThrow()
  })
})

describe("objects and arrays in all texts of a body", () => {
  it("count together", () => {
    const third = `[${"[],".repeat(MAX_CONTAINERS / 3)}"[[["]`
    const read = (times: number) =>
      readBody(() => {
        for (let time = 0; time < times; time++) parseJson(third)
      })
    expect(() => read(2)).not.toThrow()
    expect(() => read(3)).toThrow(TooManyContainers)
  })
})
