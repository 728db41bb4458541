import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { type Rig, sendBatch, startRig } from "../../../setup/rig.ts"
import { run } from "./importer.ts"

let rig: Rig
let folder: string
let ids: number[]

beforeAll(async () => {
  rig = await startRig()
})
afterAll(() => rig?.stop())
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-scores-"))
  await rig.query("truncate signals, batches, dedupe_keys, signal_scores, waiting_scores")
  await sendBatch(rig)
  ids = (await rig.query<{ id: string }>("select id from signals order by id")).map(({ id }) => Number(id))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const importScores = (...args: string[]) =>
  run(folder, ["import", "scores", ...args], { SIGNAL_INGEST_URL: rig.service.address })
const file = (name: string, text: string) => writeFile(join(folder, name), text)

const stored = () =>
  rig.query(
    `select signal_id::int4 - $1::int4 as nth, signal_score, emotional_tone, escalate_flag, scorer,
       to_char(scored_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') as at
     from signal_scores order by signal_id, scored_at`,
    [ids[0]],
  )

describe("import scores", () => {
  it("reads a table, maps its columns, leaves out others, and stores each score once", async () => {
    const rows = ids.map((id, n) => `${id},${n / 20},,${n % 2 === 0 ? "yes" : ""},2026-01-01T00:00:00Z,x\n`)
    await file("in.csv", `sid,signal_score,emotional_tone,escalate_flag,when,note\n${rows.join("")}`)
    const args = ["csv", "in.csv", "--map", "sid=signal_id", "--map", "when=scored_at", "--batch-size", "7"]
    const first = await importScores(...args)
    expect([first.code, first.out]).toEqual([0, expect.stringContaining("20 read, 20 stored, 0 failed")])
    expect(first.out).not.toContain("payload")
    expect(await stored()).toEqual(
      ids.map((_, n) => ({
        nth: n,
        signal_score: n / 20,
        emotional_tone: null,
        escalate_flag: n % 2 === 0 ? 1 : null,
        scorer: null,
        at: "2026-01-01 00:00:00.000000",
      })),
    )
    expect((await importScores(...args)).out).toContain("The whole source was imported before")
    expect((await importScores(...args, "--restart")).code).toBe(0)
    expect(await stored()).toHaveLength(20)
  })

  it("reads JSON lines, and its failures file when it is corrected", async () => {
    const lines = [
      { signal_id: String(ids[0]), signal_score: "0.25", scored_at: "1767225600", scorer: 7 },
      { signal_id: ids[1], signal_score: 2, scored_at: 1767225600 },
      { dedupe_key: "later", escalate_flag: true, scored_at: "2026-01-01" },
      { signal_id: ids[2], signal_score: 0.5 },
    ]
    await file("in.jsonl", `${lines.map((line) => JSON.stringify(line)).join("\n")}\n`)
    const first = await importScores("jsonl", "in.jsonl", "--failures", "failed.jsonl")
    expect([first.code, first.out]).toEqual([1, expect.stringContaining("4 read, 2 stored, 2 failed")])
    expect(first.out).toContain("signals import scores jsonl")
    expect(await rig.query("select dedupe_key, escalate_flag from waiting_scores")).toEqual([
      { dedupe_key: "later", escalate_flag: 1 },
    ])
    const failed = await readFile(join(folder, "failed.jsonl"), "utf8")
    expect(failed).toContain('no \\"scored_at\\"')
    const corrected = failed.split("\n").filter((line) => line.includes('"signal_score":2'))
    await file("again.jsonl", corrected.join("\n").replace('"signal_score":2', '"signal_score":0.75'))
    expect((await importScores("jsonl", "again.jsonl")).code).toBe(0)
    expect(await stored()).toMatchObject([
      { nth: 0, signal_score: 0.25, scorer: "7", at: "2026-01-01 00:00:00.000000" },
      { nth: 1, signal_score: 0.75 },
    ])
  })

  it("reads the rows of a query", async () => {
    const query = `select id as signal_id, 0.125::numeric as emotional_tone, timestamptz '2026-01-01 00:00:00.123456Z' as scored_at, 'sql' as scorer from signals order by id limit 3`
    const done = await importScores("sql", "--from", rig.postgres.url, "--query", query)
    expect([done.code, done.out]).toEqual([0, expect.stringContaining("3 read, 3 stored, 0 failed")])
    expect(await stored()).toMatchObject(
      [0, 1, 2].map((nth) => ({
        nth,
        emotional_tone: 0.125,
        scorer: "sql",
        at: "2026-01-01 00:00:00.123456",
      })),
    )
  })

  it("writes bodies of POST /api/scores instead of sending", async () => {
    await file("in.jsonl", `{"signal_id":1,"signal_score":0.5,"scored_at":"2026-01-01T00:00:00Z"}\n`)
    expect((await importScores("jsonl", "in.jsonl", "-o", "out.json")).code).toBe(0)
    expect(JSON.parse(await readFile(join(folder, "out.json"), "utf8"))).toEqual({
      scores: [{ signal_id: 1, signal_score: 0.5, scored_at: "2026-01-01T00:00:00Z" }],
    })
    expect(await stored()).toEqual([])
  })

  it.each<[csv: string, map: string[], sentence: string]>([
    ["id,scored_at\n1,2026-01-01\n", [], "has no column for the signal. Its columns are: id, scored_at."],
    [
      "signal_id,signal_score\n1,0.5\n",
      [],
      "has no column for scored_at, so that each score would get the time",
    ],
    [
      "a,b\n1,2\n",
      ["a=user_id"],
      '--map: a score has no field "user_id". The fields are: signal_id, dedupe_key',
    ],
    ["a,b\n1,2\n", ["c=scorer"], 'has no column "c"'],
    ["a,b,scored_at\n1,2,3\n", ["a=signal_id", "b=signal_id"], "has two columns for signal_id"],
  ])("refuses %j with a sentence", async (csv, map, sentence) => {
    await file("in.csv", csv)
    const { code, err } = await importScores("csv", "in.csv", ...map.flatMap((one) => ["--map", one]))
    expect([code, err]).toEqual([2, expect.stringContaining(sentence)])
  })
})
