import { describe, expect, it } from "vitest"

/** Every source file by its path below `src`, as text. */
const SOURCES = Object.fromEntries(
  Object.entries(import.meta.glob<string>("../src/**/*.ts", { query: "?raw", import: "default", eager: true })).map(
    ([path, text]) => [path.replace("../src/", ""), text],
  ),
)

/** The rooms and the rooms each may import from, besides itself. Imports point down only. */
const MAY_IMPORT: Record<string, string[]> = {
  "index.ts": ["app.ts", "config.ts", "store", "queue"],
  "app.ts": ["config.ts", "http", "store"],
  http: ["config.ts", "store", "metrics", "signals", "bridges", "queue"],
  queue: ["config.ts", "store", "metrics", "signals", "bridges"],
  bridges: ["signals"],
  store: ["signals"],
  metrics: [],
  "config.ts": ["metrics", "bridges"],
  signals: [],
  local: [],
  package: [],
  // Stands alone.
  client: [],
  cli: ["client", "bridges", "signals"],
  // Types only: what travels.
  dashboard: ["metrics", "signals"],
  docs: [],
  pages: [],
}

const roomOf = (path: string) => path.split("/", 1)[0] ?? ""

/** The rooms that the file at `path` imports from. */
function importsOf(path: string, text: string): string[] {
  const imports = [...text.matchAll(/from "(\.[^"]+)"/g)].map(([, specifier]) =>
    new URL(specifier ?? "", `file:///${path}`).pathname.slice(1),
  )
  return [...new Set(imports.map(roomOf))].filter((room) => room !== roomOf(path))
}

describe("the rooms of the house", () => {
  it.each(Object.keys(SOURCES))("%s imports only from the floors below", (path) => {
    const allowed = MAY_IMPORT[roomOf(path)]
    expect(allowed, `${roomOf(path)} is no room of the house`).toBeDefined()
    expect(allowed).toEqual(expect.arrayContaining(importsOf(path, SOURCES[path] ?? "")))
  })

  it.each(Object.keys(SOURCES).filter((path) => path.startsWith("signals/")))(
    "%s does no I/O and has no clock of its own",
    (path) => expect(SOURCES[path]).not.toMatch(/\bfetch\(|Date\.now\(|new Date\(\)|from "hono|from "@neondatabase|Math\.random/),
  )
})

describe("the dashboard", () => {
  it.each(Object.keys(SOURCES).filter((path) => path.startsWith("dashboard/")))("%s takes only types from the Worker", (path) =>
    expect(SOURCES[path]).not.toMatch(/^import (?!type )[^"]*from "\.\.\//m),
  )
})

describe("a source file", () => {
  it.each(Object.keys(SOURCES))("%s owns one idea in at most 250 lines", (path) =>
    expect((SOURCES[path] ?? "").split("\n").length).toBeLessThanOrEqual(250),
  )
})
