import { readFileSync } from "node:fs"
import { describe, expect, it } from "vitest"
import { checkHistory, RULES } from "../../setup/history/check.ts"
import type { Line } from "../../setup/history/lines.ts"
import { readHistory } from "../../setup/history/read.ts"
import { MUTATIONS } from "./mutations.ts"
import { simulated } from "./simulated.ts"

/** `HISTORY=file`: mutates the history of a run instead of simulated ones. */
const GIVEN = process.env.HISTORY

const check = async (lines: readonly Line[]) =>
  checkHistory(await readHistory(lines.map((line) => JSON.stringify(line))))

/** Good histories, some of which have what a mutation changes. */
const goodHistories = (): string[] =>
  GIVEN === undefined
    ? Array.from({ length: 20 }, (_, seed) => JSON.stringify(simulated({ seed, clients: 4, requests: 12 })))
    : [`[${readFileSync(GIVEN, "utf8").trim().replaceAll("\n", ",")}]`]

const good = goodHistories()

describe.each(Object.entries(MUTATIONS))("a history in which this does not hold: %s", (rule, mutations) => {
  it.each(Object.entries(mutations))("is accused by this rule: %s", async (_, mutate) => {
    let mutated = 0
    for (const text of good) {
      const lines = JSON.parse(text) as Line[]
      if (!mutate(lines)) continue
      mutated++
      expect((await check(lines)).map((broken) => broken.rule)).toContain(rule)
    }
    if (GIVEN === undefined) expect(mutated).toBeGreaterThan(0)
  })
})

it("has at least two mutations of each rule", () => {
  expect(Object.keys(MUTATIONS).sort()).toEqual(Object.keys(RULES).sort())
  for (const mutations of Object.values(MUTATIONS)) expect(Object.keys(mutations).length).toBeGreaterThan(1)
})

it("does not take a read that overlaps the write for a proof", async () => {
  const lines = JSON.parse(good[0] ?? "[]") as Line[]
  const write = lines.find((line) => line.type === "answer" && line.results?.[0]?.[0] === "stored")
  const request = lines.find(
    (line) => line.type === "invoke" && write?.type === "answer" && line.n === write.n,
  )
  if (write?.type !== "answer" || request?.type !== "invoke") throw new Error("the history stores nothing")
  const of = String(write.results?.[0]?.[1])
  lines.splice(-1, 0, { type: "invoke", n: 1e6, at: request.at, client: "late", operation: "read", of })
  lines.splice(-1, 0, { type: "answer", n: 1e6, at: write.at + 1000, status: 404 })
  expect(await check(lines)).toEqual([])
})
