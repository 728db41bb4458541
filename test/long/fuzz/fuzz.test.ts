import { afterAll, beforeAll, describe, expect, inject, it } from "vitest"
import { fuzz, strangeLines } from "./fuzz.ts"
import { type Stand, startStand } from "./stand.ts"

/** Always the same inputs; `npm run fuzz` has others. */
const RUN = { count: 10_000, seed: 20_261_124 }

describe("hostile inputs", () => {
  let stand: Stand
  beforeAll(async () => {
    stand = await startStand(inject("bundle"))
  })
  afterAll(() => stand?.stop())

  it(`crash no parser: ${RUN.count} inputs`, async () => {
    const reports = await fuzz(stand, RUN)
    expect(reports.filter(({ failure }) => failure)).toEqual([])
    const inputs = reports.reduce((sum, report) => sum + report.inputs, 0)
    expect(inputs).toBeGreaterThan(0.95 * RUN.count)
    expect([...strangeLines(stand.service.log), ...strangeLines(stand.parsers.log)]).toEqual([])
  })
})
