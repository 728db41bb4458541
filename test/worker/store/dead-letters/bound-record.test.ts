import { describe, expect, it } from "vitest"
import {
  keepTexts,
  keepValues,
  MAX_RECORD_BYTES,
  MAX_STATEMENT_CHARACTERS,
} from "../../../../src/store/dead-letters/bound-record.ts"

describe("the bounds of dead letters' records", () => {
  it.each([
    ["as delivered", (text: string) => keepValues([{ reason: "why", record: { value: text } }])],
    [
      "as JSON text",
      (text: string) => keepTexts([{ reason: "why", record: JSON.stringify({ value: text }) }]),
    ],
  ])("are the same for a record %s: bytes of UTF-8, not characters", (_, keep) => {
    const around = '{"value":""}'.length
    const fits = "é".repeat((MAX_RECORD_BYTES - around) / 2)
    expect(keep(fits)).toEqual([{ reason: "why", record: JSON.stringify({ value: fits }), truncated: false }])
    const [cut] = keep(`${fits}é`)
    expect(cut?.truncated).toBe(true)
    expect(cut?.reason).toMatch(/^why.+kept/)
    expect(new TextEncoder().encode(cut?.record).length).toBeLessThanOrEqual(MAX_RECORD_BYTES)
  })

  it("hold for all records of a statement together", () => {
    const deadLetter = { reason: "It is refused.", record: JSON.stringify("\\".repeat(500_000)) }
    const kept = keepTexts(Array.from({ length: 20 }, () => deadLetter))
    expect(kept.map(({ truncated }) => truncated).indexOf(true)).toBe(2)
    expect(kept.slice(2).every(({ truncated }) => truncated)).toBe(true)
    expect(kept.at(-1)?.reason).toMatch(/^It is refused\. The record is larger/)
    const characters = kept.map(({ record }) => JSON.stringify(JSON.stringify(record)).length)
    expect(characters.reduce((sum, one) => sum + one)).toBeLessThan(MAX_STATEMENT_CHARACTERS * 1.001)
  })
})
