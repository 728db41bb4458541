import fc from "fast-check"
import { expect, it } from "vitest"
import { checkHistory } from "../../setup/history/check.ts"
import { readHistory } from "../../setup/history/read.ts"
import { simulated } from "./simulated.ts"

const RUNS = Number(process.env.HISTORIES ?? 300)

it("a history in which every promise was kept is never accused", async () => {
  const run = fc.record({
    seed: fc.integer(),
    clients: fc.integer({ min: 1, max: 8 }),
    requests: fc.integer({ min: 1, max: 25 }),
  })
  await fc.assert(
    fc.asyncProperty(run, async (one) => {
      expect(checkHistory(await readHistory(simulated(one).map((line) => JSON.stringify(line))))).toEqual([])
    }),
    { numRuns: RUNS },
  )
})
