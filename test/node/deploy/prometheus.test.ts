import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"

const fileOf = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url))

const RULES = "deploy/prometheus/rules.yaml"
const hasPromtool = spawnSync("promtool", ["--version"]).status === 0

describe("the alerts for Prometheus", () => {
  it("ask for metrics of GET /metrics alone, by the names of docs/metrics.md", () => {
    const documented = readFileSync(fileOf("docs/metrics.md"), "utf8")
    const expressions = readFileSync(fileOf(RULES), "utf8").replace(/#.*|alert:.*|summary:.*/g, "")
    const names = new Set(expressions.match(/\b(?:batch|signal)_[a-z_]+/g))
    expect(names.size).toBeGreaterThan(8)
    expect([...names].filter((name) => !documented.includes(name.replace(/_bucket$/, "")))).toEqual([])
  })

  it("each have an answer in docs/operate.md", () => {
    const alerts = readFileSync(fileOf(RULES), "utf8").match(/(?<=alert: )\w+/g) ?? []
    const documented = readFileSync(fileOf("docs/operate.md"), "utf8")
    expect(alerts.length).toBeGreaterThan(8)
    expect(alerts.filter((alert) => !documented.includes(`| \`${alert}\` |`))).toEqual([])
  })

  // promtool comes with Prometheus, which Debian has as a package.
  it.skipIf(!hasPromtool)("fire on their cause and on nothing else, as promtool evaluates them", () => {
    const { status, stdout, stderr } = spawnSync(
      "promtool",
      ["test", "rules", fileOf("deploy/prometheus/rules.test.yaml")],
      { encoding: "utf8" },
    )
    expect(status, stdout + stderr).toBe(0)
  })
})
