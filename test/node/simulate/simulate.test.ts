import { execFile } from "node:child_process"
import { readFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import { type Deployment, estimate } from "../../../scripts/simulate/model.ts"

const RUN = fileURLToPath(new URL("../../../scripts/simulate/run.ts", import.meta.url))

function simulate(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [RUN, ...args], (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    )
  })
}

const deployment = (more: Partial<Deployment> = {}): Deployment => ({
  road: "sync",
  callers: 10,
  batchesPerSecond: 1,
  batch: 500,
  colos: 1,
  cu: 1,
  ...more,
})

const total = (one: Deployment) =>
  Object.values(estimate(one).dollars).reduce((sum, dollars) => sum + dollars, 0)

describe("the estimate of a deployment", () => {
  it("counts the signals of all callers", () => {
    expect(estimate(deployment()).signalsPerDay).toBe(10 * 500 * 86_400)
  })

  it("is higher for each signal in smaller batches, and highest for webhooks", () => {
    const perMillion = (more: Partial<Deployment>) => estimate(deployment(more)).dollarsPerMillion
    const large = perMillion({})
    const small = perMillion({ batch: 10, callers: 500 })
    const webhook = perMillion({ road: "webhook", callers: 5000 })
    expect(large).toBeLessThan(small)
    expect(small).toBeLessThan(webhook)
  })

  it("names the limit that is exceeded when the database is too small", () => {
    const { latencyMs, limits } = estimate(deployment({ callers: 200, cu: 0.25 }))
    expect(latencyMs.p99).toBe(Number.POSITIVE_INFINITY)
    expect(limits[0]).toMatchObject({ name: "CPU of the database (0.25 CU)" })
    expect(limits[0]?.used).toBeGreaterThan(1)
  })

  it("charges for stored data independently of the compute", () => {
    expect(total(deployment({ cu: 56 }))).toBeCloseTo(total(deployment({ cu: 8 })))
  })
})

describe("npm run simulate", () => {
  it.each(["--table", "--constants"])("%s prints the table of docs/scale.md", async (option) => {
    const { out } = await simulate(option)
    expect(await readFile("docs/scale.md", "utf8")).toContain(out.trim())
  })

  it.each([
    ["--road", "post", '--road must be one of sync, async, webhook, not "post".'],
    ["--callers", "0", '--callers must be a number above 0, not "0".'],
    ["--batch", "many", '--batch must be a number above 0, not "many".'],
  ])("refuses %s %s", async (option, given, sentence) => {
    const { code, err } = await simulate(option, given)
    expect([code, err.split(" Run ")[0]]).toEqual([2, sentence])
  })

  it("prints the bill and the limits of one deployment", async () => {
    const options = "--callers 12 --batches-per-second 0.2 --batch 500 --road sync --colos 3 --cu 1"
    const { code, out } = await simulate(...options.split(" "))
    expect(code).toBe(0)
    expect(out).toMatch(/^104M signals a day[\s\S]*Neon storage[\s\S]*Limits at the peak/)
  })

  it("explains its options", async () => {
    expect((await simulate("--help")).out).toMatch(/^Usage: npm run simulate/)
  })
})
