import { execFile } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Rig, startRig } from "../../setup/rig.ts"

const ROOT = fileURLToPath(new URL("../../../", import.meta.url))

/** Every page of the documentation by its path. */
const PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", ...readdirSync(join(ROOT, "docs")).map((name) => `docs/${name}`)]
const textOf = (page: string) => readFileSync(join(ROOT, page), "utf8")

const { scripts, dependencies, devDependencies } = JSON.parse(textOf("package.json")) as Record<string, Record<string, string>>

/** Each call to the service with the page it stands on; a block of JSON is the answer to the block of shell before it. */
const calls = PAGES.flatMap((page) => {
  const blocks = [...textOf(page).matchAll(/```(\w+)\n([\s\S]*?)```/g)].map(([, language = "", text = ""]) => ({
    language,
    text,
  }))
  return blocks.flatMap(({ language, text }, position) => {
    const next = blocks[position + 1]
    return language === "sh" && text.includes("http://localhost:8002/") && text.includes("curl")
      ? [{ page, command: text, answer: next?.language === "json" ? next.text : undefined }]
      : []
  })
})

/** Ids differ from run to run; everything else is as the page says. */
const comparable = (text: string): unknown =>
  JSON.parse(text, (name, value) =>
    name === "signal_id" && value !== null ? "an id" : name === "transaction_id" && value !== null ? "a batch" : value,
  )

let rig: Rig

beforeAll(async () => {
  rig = await startRig()
})
afterAll(() => rig?.stop())

describe("the documentation", () => {
  it.each(calls)("$page has a call that works as printed: $command", async ({ command, answer }) => {
    const { stdout } = await promisify(execFile)("sh", ["-ec", command.replaceAll("http://localhost:8002", rig.service.address)])
    if (answer !== undefined) expect(comparable(stdout)).toEqual(comparable(answer))
    expect(stdout).not.toContain('"detail":"Internal')
  })

  it("shows that a batch sent twice under one key is stored once", async () => {
    const rows = await rig.query("select count(*)::int4 as count from signals where context_window_id = 'conv-125'")
    expect(rows).toEqual([{ count: 1 }])
  })

  it.each(PAGES)("%s names only npm scripts that exist", (page) => {
    const named = [...textOf(page).matchAll(/npm run (?:-s )?([\w:-]+)/g)].map(([, name]) => name)
    expect(Object.keys(scripts ?? {})).toEqual(expect.arrayContaining(named))
  })

  it.each(PAGES)("%s links only to pages and headings that exist", (page) => {
    const links = [...textOf(page).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)/g)]
    const broken = links.filter(([, path = "", heading]) => {
      const target = join(dirname(page), path)
      if (path && !existsSync(join(ROOT, target))) return true
      return heading !== undefined && !headingsOf(path ? target : page).includes(heading)
    })
    expect(broken.map(([link]) => link)).toEqual([])
  })

  it("gives every dependency its line", () => {
    const page = textOf("docs/architecture.md")
    const unexplained = Object.keys({ ...dependencies, ...devDependencies }).filter(
      (name) => !name.startsWith("@types/") && !page.includes(`\`${name}\``),
    )
    expect(unexplained).toEqual([])
  })

  it("has a README that is read in one sitting", () => expect(textOf("README.md").split("\n").length).toBeLessThanOrEqual(180))
})

/** The anchors of a page's headings, as GitHub makes them. */
const headingsOf = (page: string) =>
  [...textOf(page).matchAll(/^#+ (.+)$/gm)].map(([, title = ""]) =>
    title
      .toLowerCase()
      .replace(/[^\w\s-]/g, "")
      .replaceAll(" ", "-"),
  )
