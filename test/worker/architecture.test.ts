import { describe, expect, it } from "vitest"

/** Every source file by its path below `src`, as text. */
const SOURCES = Object.fromEntries(
  Object.entries(
    import.meta.glob<string>("../../src/**/*.ts", { query: "?raw", import: "default", eager: true }),
  ).map(([path, text]) => [path.replace("../../src/", ""), text]),
)

/** The folders of `src` and what each may import from, besides itself. Imports point down only. */
const MAY_IMPORT: Record<string, string[]> = {
  "index.ts": ["app.ts", "bindings.ts", "store", "consumer"],
  "app.ts": ["config.ts", "http", "signals", "store"],
  http: [
    "bindings.ts",
    "config.ts",
    "isolate",
    "ingest",
    "store",
    "metrics",
    "signals",
    "bridges",
    "trace.ts",
  ],
  openapi: ["http", "metrics", "signals", "bridges", "config.ts", "store"],
  consumer: ["bindings.ts", "config.ts", "ingest", "queue", "store", "metrics", "signals", "trace.ts"],
  ingest: ["bridges", "queue", "store", "signals"],
  queue: ["store", "signals"],
  bridges: ["signals"],
  store: ["isolate", "signals"],
  metrics: ["signals"],
  "trace.ts": [],
  "bindings.ts": ["config.ts", "metrics"],
  "config.ts": ["metrics", "bridges", "signals"],
  signals: [],
  isolate: [],
  // Runs the Worker with what stands in for Cloudflare.
  local: ["index.ts", "bindings.ts", "config.ts", "metrics", "store"],
  // Stands alone.
  client: [],
  cli: ["client", "bridges", "signals"],
  // Types only: what travels.
  pages: ["metrics", "signals"],
}

const folderOf = (path: string) => path.split("/", 1)[0] ?? ""

/** The folders that the file at `path` imports from. */
function importsOf(path: string, text: string): string[] {
  const imports = [...text.matchAll(/from "(\.[^"]+)"/g)].map(([, specifier]) =>
    new URL(specifier ?? "", `file:///src/${path}`).pathname.replace(/^\/src\//, ""),
  )
  return [...new Set(imports.map(folderOf))].filter((folder) => folder !== folderOf(path))
}

/** The other TypeScript files by their path, as text. */
const OTHERS = Object.fromEntries(
  Object.entries(
    import.meta.glob<string>("../../{test,scripts,bench}/**/*.ts", {
      query: "?raw",
      import: "default",
      eager: true,
    }),
  ).map(([path, text]) => [path.replace(/^(\.\.\/)+/, ""), text]),
)

const FILES = Object.keys(import.meta.glob("../../{src,test,scripts,bench}/**/*")).map((path) =>
  path.replace("../../", ""),
)

describe("the folders of src", () => {
  it.each(Object.keys(SOURCES))("%s imports only from the layers below", (path) => {
    const allowed = MAY_IMPORT[folderOf(path)]
    expect(allowed, `MAY_IMPORT does not list ${folderOf(path)}`).toBeDefined()
    expect(allowed).toEqual(expect.arrayContaining(importsOf(path, SOURCES[path] ?? "")))
  })

  it.each(Object.keys(SOURCES).filter((path) => path.startsWith("signals/")))(
    "%s does no I/O and has no clock of its own",
    (path) =>
      expect(SOURCES[path]).not.toMatch(
        /\bfetch\(|Date\.now\(|new Date\(\)|from "hono|from "@neondatabase|Math\.random/,
      ),
  )
})

describe("the dashboard", () => {
  it.each(Object.keys(SOURCES).filter((path) => path.startsWith("pages/dashboard/")))(
    "%s takes only types from the Worker",
    (path) => {
      const values = [...(SOURCES[path] ?? "").matchAll(/^import (?!type )[^"]*from "(\.[^"]+)"/gm)].map(
        ([, specifier]) => new URL(specifier ?? "", `file:///src/${path}`).pathname,
      )
      expect(values.filter((target) => !target.startsWith("/src/pages/dashboard/"))).toEqual([])
    },
  )
})

describe("a source file", () => {
  it.each(Object.keys(SOURCES))("%s has at most 400 lines", (path) =>
    expect((SOURCES[path] ?? "").split("\n").length).toBeLessThanOrEqual(400),
  )
})

const linesOf = (text: string | undefined) => (text ?? "").trimEnd().split("\n").length
const isTest = (path: string) => path.endsWith(".test.ts")

describe("a file of benchmarks, scripts and test set-ups", () => {
  it.each(Object.keys(OTHERS).filter((path) => !isTest(path)))("%s has at most 400 lines", (path) =>
    expect(linesOf(OTHERS[path])).toBeLessThanOrEqual(400),
  )
})

/** A table of cases may be longer: each file starts a service and a database of its own. */
describe("a test", () => {
  it.each(Object.keys(OTHERS).filter(isTest))("%s has at most 550 lines", (path) =>
    expect(linesOf(OTHERS[path])).toBeLessThanOrEqual(550),
  )
})

describe("a folder", () => {
  const counts = new Map<string, number>()
  for (const path of FILES) {
    const folder = path.slice(0, path.lastIndexOf("/"))
    counts.set(folder, (counts.get(folder) ?? 0) + 1)
  }

  it.each([...counts])("%s holds at most 15 files", (_, count) => expect(count).toBeLessThanOrEqual(15))
})
