import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { type StoredBatch, violationIn } from "../../../src/signals/answer.ts"
import type { Failure } from "../../../src/signals/responses.ts"

const failure = (index: number): Failure => ({ index, error: "", code: "out_of_range", retryable: false })

/** The outcome of a batch: of each signal, whether it is new, a duplicate or failed. */
function outcomeOf(kinds: readonly ("new" | "duplicate" | "failed")[]): StoredBatch {
  const outcome: StoredBatch = { transactionId: null, stored: [], failures: [] }
  for (const [index, kind] of kinds.entries()) {
    if (kind === "failed") outcome.failures.push(failure(index))
    else outcome.stored.push({ index, id: kind === "new" ? 100 + index : 7, duplicate: kind === "duplicate" })
  }
  return outcome
}

const kinds = fc.array(fc.constantFrom("new" as const, "duplicate" as const, "failed" as const), {
  maxLength: 30,
})

describe("the outcome of a batch", () => {
  it("is right when each signal is in it once, in order, with ascending ids", () =>
    fc.assert(fc.property(kinds, (all) => violationIn(outcomeOf(all), all.length) === undefined)))

  it("is wrong when a signal is missing, twice, or out of order", () =>
    fc.assert(
      fc.property(kinds, fc.nat(), fc.nat(2), (all, at, how) => {
        const outcome = outcomeOf(all)
        const parts: { index: number }[][] = [outcome.stored, outcome.failures].filter(
          (part) => part.length > 0,
        )
        const part = parts[at % parts.length]
        if (!part) return
        const position = at % part.length
        const [taken] = part.splice(position, 1)
        if (how === 1 && taken) part.splice(position, 0, taken, taken)
        if (how === 2 && taken) part.splice(position, 0, { ...taken, index: all.length })
        expect(violationIn(outcome, all.length)).toBeDefined()
      }),
    ))

  it("is wrong when new ids do not ascend; a duplicate has any id", () => {
    const stored = (...ids: number[]) => ids.map((id, index) => ({ index, id, duplicate: false }))
    const wrong = { transactionId: null, failures: [] }
    expect(violationIn({ ...wrong, stored: stored(5, 6) }, 2)).toBeUndefined()
    expect(violationIn({ ...wrong, stored: stored(6, 5) }, 2)).toMatch(/^the id of signal 1/)
    expect(violationIn({ ...wrong, stored: stored(5, 5) }, 2)).toMatch(/^the id of signal 1/)
  })
})
