import { execFile } from "node:child_process"
import { readFileSync } from "node:fs"
import { promisify } from "node:util"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Rig, startRig } from "../../setup/rig.ts"

const README = readFileSync(new URL("../../../README.md", import.meta.url), "utf8")
const SCRIPTS = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8")).scripts as Record<
  string,
  string
>

/** Each fenced block with its language; a block of JSON is the answer to the block of shell before it. */
const blocks = [...README.matchAll(/```(\w+)\n([\s\S]*?)```/g)].map(([, language = "", text = ""]) => ({ language, text }))
const calls = blocks.flatMap(({ language, text }, position) => {
  const next = blocks[position + 1]
  return language === "sh" && text.includes("http://localhost:8002")
    ? [{ command: text, answer: next?.language === "json" ? next.text : undefined }]
    : []
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

describe("the README", () => {
  it.each(calls)("has a call that works as printed: $command", async ({ command, answer }) => {
    const { stdout } = await promisify(execFile)("sh", ["-ec", command.replaceAll("http://localhost:8002", rig.service.address)])
    if (answer !== undefined) expect(comparable(stdout)).toEqual(comparable(answer))
    expect(stdout).not.toContain('"detail":"Internal')
  })

  it("shows that a batch sent twice under one key is stored once", async () => {
    const rows = await rig.query("select count(*)::int4 as count from signals where context_window_id = 'conv-125'")
    expect(rows).toEqual([{ count: 1 }])
  })

  it("names no npm script that is not there", () => {
    const named = [...README.matchAll(/npm run (?:-s )?([\w:-]+)/g)].map(([, name]) => name)
    expect(Object.keys(SCRIPTS)).toEqual(expect.arrayContaining(named))
  })

  it("gives every dependency its line", () => {
    const { dependencies, devDependencies } = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8"))
    const unexplained = Object.keys({ ...dependencies, ...devDependencies }).filter(
      (name) => !name.startsWith("@types/") && !README.includes(`\`${name}\``),
    )
    expect(unexplained).toEqual([])
  })
})
