import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"

const ROOT = fileURLToPath(new URL("../../../", import.meta.url))
/** The rooms whose code runs in the Worker. */
const ROOMS = ["access", "http", "consumer", "ingest", "queue", "store", "metrics", "isolate", "deliver"]

const sources = ROOMS.flatMap((room) =>
  readdirSync(`${ROOT}src/${room}`, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => readFileSync(`${ROOT}src/${room}/${name}`, "utf8")),
)

const logged = new Set(
  sources.flatMap((text) => [
    ...[...text.matchAll(/\bevent: "(\w+)"/g)].map(([, event]) => event),
    ...[...text.matchAll(/\bstep\(\s*"(\w+)"/g)].map(([, event]) => event),
  ]),
)

describe("the log lines", () => {
  it("are those of the table in docs/operate.md, each once", () => {
    const page = readFileSync(`${ROOT}docs/operate.md`, "utf8")
    const table = page.slice(page.indexOf("| event |"), page.indexOf("\n## Upgrade"))
    const names = [...table.matchAll(/^\| ((?:`\w+`(?:, )?)+) \|/gm)].flatMap(([, cell = ""]) =>
      [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name),
    )
    expect(logged.size).toBeGreaterThan(15)
    expect(names.toSorted()).toEqual([...logged].toSorted())
  })

  it("are the only calls of console in the Worker", () => {
    const calls = sources.flatMap((text) => [...text.matchAll(/console\.\w+\(([\s\S]{0,120})/g)])
    const others = calls.filter(([, argument = ""]) => !/^\s*(?:JSON\.stringify|line|entry)/.test(argument))
    expect(others.map(([call]) => call)).toEqual([])
  })
})
