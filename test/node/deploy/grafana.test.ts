import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import * as made from "../../../scripts/grafana.ts"
import { useAnalytics } from "../../setup/hooks/analytics.ts"

const FOLDER = fileURLToPath(new URL("../../../deploy/grafana/", import.meta.url))

interface Target {
  columns: { selector: string; text: string }[]
  url_options: { data: string }
}

interface Panel {
  type: string
  title: string
  targets: Target[]
  transformations?: { options: { indexByName: Record<string, number> } }[]
}

const read = async (file: string) => JSON.parse(await readFile(join(FOLDER, file), "utf8"))
const dashboard = (await read("dashboard.json")) as { panels: Panel[] }
const alert = (await read("alert.json")) as {
  groups: { rules: { title: string; data: { model: Target }[] }[] }[]
}
const rules = (alert.groups[0]?.rules ?? []).map(({ title, data }) => ({
  title,
  query: data[0]?.model as Target,
}))

const analytics = useAnalytics()

/** What Grafana would send, its variables replaced by what they stand for. */
const asSent = (sql: string) =>
  sql
    .replaceAll(`\${__from:date:seconds}`, "1795467600")
    .replaceAll(`\${__to:date:seconds}`, "1795471200")
    .replaceAll(`\${step}`, "60")

async function columnsOf(sql: string): Promise<string[]> {
  const response = await fetch(`${analytics.url}/accounts/local/analytics_engine/sql`, {
    method: "POST",
    headers: { Authorization: `Bearer ${analytics.token}` },
    body: sql,
  })
  const text = await response.text()
  expect(response.status, text).toBe(200)
  return (JSON.parse(text) as { meta: { name: string }[] }).meta.map(({ name }) => name)
}

describe("Grafana's dashboard", () => {
  it.each(dashboard.panels.map(({ title, targets }) => [title, targets] as const))(
    "queries %s in the dialect of Analytics Engine, and shows columns of the answer",
    async (_, targets) => {
      for (const { url_options, columns } of targets)
        expect(await columnsOf(asSent(url_options.data))).toEqual(
          expect.arrayContaining(columns.map(({ selector }) => selector)),
        )
    },
  )
})

describe("a table of Grafana's", () => {
  it.each(dashboard.panels.filter(({ type }) => type === "table"))(
    "$title begins with its names",
    ({ targets, transformations }) => {
      const names = targets.flatMap(({ columns }) => columns.map(({ text }) => text))
      const order = Object.entries(transformations?.[0]?.options.indexByName ?? {}).sort(
        ([, one], [, other]) => one - other,
      )
      expect(order.map(([name]) => name)).toEqual(names)
      expect(targets[0]?.columns[0]?.selector).toBe("name")
    },
  )
})

describe("Grafana's alerts", () => {
  it("keep their state while the API gives no answer", () =>
    expect(made.alert.groups[0]?.rules.map(({ execErrState }) => execErrState)).toEqual(
      rules.map(() => "KeepLast"),
    ))

  it.each(rules)(
    "$title has no variables, which Grafana would not replace, and returns one number",
    async ({ query }) => {
      expect(query.url_options.data).not.toContain("$")
      expect(query.columns).toHaveLength(1)
      expect(await columnsOf(query.url_options.data)).toContain(query.columns[0]?.selector)
    },
  )
})

describe("what npm run grafana writes", () => {
  it("equals the file in deploy/grafana", async () => {
    expect(await read("dashboard.json")).toEqual(made.dashboard)
    expect(await read("alert.json")).toEqual(made.alert)
  })
})
