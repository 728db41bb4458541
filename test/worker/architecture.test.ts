import { describe, expect, it } from "vitest"

/** TypeScript by its path from the repository's top, as text. */
const TEXTS = new Map(
  Object.entries(
    import.meta.glob<string>("../../{src,test,scripts,bench,examples}/**/*.ts", {
      query: "?raw",
      import: "default",
      eager: true,
    }),
  ).map(([path, text]) => [path.replace(/^(\.\.\/)+/, "").replace(/^\.\//, "test/worker/"), text]),
)
const PATHS = [...TEXTS.keys()].sort()
const SOURCES = PATHS.filter((path) => path.startsWith("src/"))

/** Every file, of any kind. */
const FILES = Object.keys(import.meta.glob("../../{src,test,scripts,bench,examples}/**/*")).map((path) =>
  path.replace(/^(\.\.\/)+/, "").replace(/^\.\//, "test/worker/"),
)

const textOf = (path: string) => TEXTS.get(path) ?? ""
const linesOf = (path: string) => textOf(path).trimEnd().split("\n")
const isTest = (path: string) => path.endsWith(".test.ts")
const folderOf = (path: string) => path.slice(0, path.lastIndexOf("/"))

/** The folder or the file of `src` that a path is in. */
const roomOf = (path: string) => path.split("/")[1] ?? ""

/** The files that a file imports by a relative path; of `values` only those that are loaded when it runs. */
function importsOf(path: string, { values = false } = {}): string[] {
  const declarations = values
    ? /^(?:import|export) (?!type )(?!\{(?: *type [\w$]+(?: as [\w$]+)?,?)+ *\})[^"]*?from "(\.[^"]+)"/gm
    : /(?:from|import\()\s*"(\.[^"]+)"/g
  return [...textOf(path).matchAll(declarations)].map(([, specifier]) =>
    new URL(specifier ?? "", `file:///${path}`).pathname.slice(1),
  )
}

/** The folders and files of `src`, and what each may import from besides itself. Imports point down only. */
const MAY_IMPORT: Record<string, string[]> = {
  "index.ts": ["app.ts", "bindings.ts", "consumer", "http"],
  "app.ts": ["config.ts", "http", "signals", "store"],
  http: [
    "deliver",
    "subscriptions",
    "errors.ts",
    "bindings.ts",
    "config.ts",
    "trace.ts",
    "access",
    "keys",
    "ingest",
    "bridges",
    "store",
    "metrics",
    "isolate",
    "scores",
    "signals",
  ],
  consumer: [
    "deliver",
    "errors.ts",
    "bindings.ts",
    "config.ts",
    "trace.ts",
    "access",
    "ingest",
    "queue",
    "store",
    "metrics",
    "signals",
  ],
  ingest: ["errors.ts", "queue", "bridges", "store", "scores", "signals"],
  // Where the keys that are made at run time are known.
  access: ["errors.ts", "store", "isolate", "keys", "signals"],
  queue: ["errors.ts", "store", "signals"],
  // Sends what subscriptions ask for.
  deliver: ["errors.ts", "config.ts", "store", "subscriptions"],
  store: ["errors.ts", "isolate", "keys", "scores", "signals", "subscriptions"],
  // What a subscription is and what follows an answer, without any I/O.
  subscriptions: ["errors.ts", "signals"],
  bridges: ["scores", "signals"],
  metrics: ["errors.ts", "signals"],
  isolate: [],
  signals: [],
  // What comes after a signal.
  scores: ["signals"],
  keys: ["signals"],
  "bindings.ts": ["config.ts", "metrics"],
  "config.ts": ["errors.ts", "bridges", "keys", "metrics", "signals"],
  "errors.ts": [],
  "trace.ts": [],
  // The description of the API, built before deployment.
  openapi: ["config.ts", "http", "bridges", "keys", "store", "metrics", "scores", "signals", "subscriptions"],
  // Runs the Worker with what stands in for Cloudflare.
  local: ["index.ts", "bindings.ts", "config.ts", "consumer", "metrics", "store"],
  // Stands alone.
  client: [],
  cli: ["client", "bridges", "keys", "scores", "signals"],
  // Types only: what travels.
  pages: ["keys", "metrics", "signals", "subscriptions"],
}

describe("imports", () => {
  it("point down between the folders of src", () => {
    const offenders = SOURCES.flatMap((path) =>
      importsOf(path)
        .filter((target) => target.startsWith("src/") && roomOf(target) !== roomOf(path))
        .filter((target) => !MAY_IMPORT[roomOf(path)]?.includes(roomOf(target)))
        .map((target) => `${path} imports ${target}`),
    )
    expect(offenders).toEqual([])
  })

  it("never go from a folder to the one that contains it", () => {
    const offenders = SOURCES.flatMap((path) =>
      importsOf(path)
        .filter((target) => folderOf(target) !== "src" && folderOf(path).startsWith(`${folderOf(target)}/`))
        .map((target) => `${path} imports ${target}`),
    )
    expect(offenders).toEqual([])
  })

  it("point down between the folders of a folder", () => {
    const below = new Map<string, Set<string>>()
    for (const path of SOURCES)
      for (const target of importsOf(path)) {
        if (roomOf(target) !== roomOf(path) || folderOf(target) === folderOf(path)) continue
        below.set(folderOf(path), (below.get(folderOf(path)) ?? new Set()).add(folderOf(target)))
      }
    const reaches = (from: string, to: string, seen = new Set<string>()): boolean =>
      [...(below.get(from) ?? [])].some(
        (folder) =>
          folder === to || (!seen.has(folder) && seen.add(folder).has(folder) && reaches(folder, to, seen)),
      )
    expect([...below.keys()].filter((folder) => reaches(folder, folder))).toEqual([])
  })

  it("of the dashboard take only types from the Worker", () => {
    const offenders = SOURCES.filter((path) => path.startsWith("src/pages/dashboard/")).flatMap((path) =>
      importsOf(path, { values: true })
        .filter((target) => !target.startsWith("src/pages/dashboard/"))
        .map((target) => `${path} imports ${target}`),
    )
    expect(offenders).toEqual([])
  })

  it("of the API's description load neither drizzle nor the driver's statements", () => {
    const loaded = new Set(["src/openapi/document.ts"])
    for (const path of loaded) for (const target of importsOf(path, { values: true })) loaded.add(target)
    expect(loaded.size).toBeGreaterThan(20)
    expect([...loaded].filter((path) => /^import (?!type )[^"]*"drizzle-orm/m.test(textOf(path)))).toEqual([])
  })
})

describe("signals and bridges", () => {
  it("do no I/O and have no clock of their own", () => {
    const impure =
      /\bfetch\(|Date\.now\(|new Date\(\)|from "hono|from "drizzle|from "@neondatabase|Math\.random/
    const offenders = SOURCES.filter((path) => /^src\/(signals|bridges)\//.test(path)).filter((path) =>
      impure.test(textOf(path)),
    )
    expect(offenders).toEqual([])
  })
})

/** Where the library and the command line read the clock of the day, which anybody may set. */
const READS_THE_DAY: Record<string, string> = {
  "src/client/http/answer.ts": "Retry-After may be a date",
  "src/cli/keys/command.ts": "a key ends so many days from now",
  "src/cli/import/verify.ts": "the service refuses times too far ahead of its day",
}

describe("the library and the command line", () => {
  it("measure spans by performance.now(), which nobody sets back", () => {
    const readers = SOURCES.filter((path) => /^src\/(client|cli)\//.test(path)).filter((path) =>
      /\bDate\.now\b|new Date\(\)/.test(textOf(path)),
    )
    expect(readers).toEqual(Object.keys(READS_THE_DAY).sort())
  })
})

/** Files of `src` with fewer than `FEW_LINES`, and why each is one. */
const FEW_LINES = 30
const SHORT: Record<string, string> = {
  "src/index.ts": "the entry of the Worker",
  "src/bridges/mappers.ts": "one entry for each webhook",
  "src/errors.ts": "how an error is logged",
  "src/bindings.ts": "typed by Cloudflare, so that config.ts runs in Node",
  "src/signals/raw-json.d.ts": "declares what TypeScript lacks",
  "src/openapi/storage.ts": "one route of the description",
  "src/client/base/guards.ts": "what every part of the client needs",
  "src/cli/main.ts": "the entry of the command line",
  "src/cli/tail/command.ts": "one command",
  "src/local/environment.ts": "one question to the process",
  "src/pages/dashboard/theme.ts": "one switch",
  "src/pages/reference/main.ts": "the entry of a page",
  "src/local/machine/ports.ts": "one question to the machine",
  "src/local/machine/processes.ts": "one question to the machine",
  "src/local/machine/root.ts": "one path",
  "src/local/machine/startup-error.ts": "one error",
  "src/pages/dashboard/base/dom.ts": "what every view needs",
}

describe("a file", () => {
  it("has at most 400 lines, a test at most 550", () => {
    const offenders = PATHS.map((path) => ({ path, lines: linesOf(path).length }))
    expect(offenders.filter(({ path, lines }) => lines > (isTest(path) ? 550 : 400))).toEqual([])
  })

  it("of src has at least 30 lines, or a reason", () => {
    const short = SOURCES.filter((path) => linesOf(path).length < FEW_LINES)
    expect(short.filter((path) => !SHORT[path])).toEqual([])
    expect(Object.keys(SHORT).filter((path) => !short.includes(path))).toEqual([])
  })

  it("has lines of at most 110 columns, except for a text that cannot be broken", () => {
    const offenders = PATHS.flatMap((path) =>
      linesOf(path).flatMap((line, index) =>
        line.length > 110 && !isText(line, linesOf(path), index) ? [`${path}:${index + 1}`] : [],
      ),
    )
    expect(offenders).toEqual([])
  })
})

/** Whether a long line is one string, or a part of a template, or a comment with an address. */
function isText(line: string, lines: readonly string[], index: number): boolean {
  if (/^\s*\/\/ biome-ignore/.test(line)) return true
  if (/^\s*(\/\/|\/?\*)/.test(line)) return /https?:\/\/\S{60,}/.test(line)
  const before = lines.slice(0, index).join("\n")
  const isInTemplate = (before.match(/(?<!\\)`/g) ?? []).length % 2 === 1
  return isInTemplate || /(["'`/]).{50,}\1/.test(line) || /`.{50,}$/.test(line)
}

describe("a folder", () => {
  it("holds at most 15 files", () => {
    const counts = Map.groupBy(FILES, folderOf)
    const offenders = [...counts].map(([folder, files]) => ({ folder, files: files.length }))
    expect(offenders.filter(({ files }) => files > 15)).toEqual([])
  })
})
