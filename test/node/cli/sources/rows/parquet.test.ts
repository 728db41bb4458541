import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parquetWriteFile } from "hyparquet-writer"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { openSource } from "../../../../../src/cli/sources/open.ts"
import { run } from "../../import/importer.ts"

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "signal-ingest-parquet-"))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const path = () => join(folder, "in.parquet")

async function recordsOf(map?: Record<string, string>) {
  const { source } = await openSource({ kind: "parquet", path: path(), map })
  const records: unknown[] = []
  for await (const record of source.records()) records.push(record)
  return records
}

const dryRun = (...args: string[]) => run(folder, ["import", "parquet", "in.parquet", "--dry-run", ...args])

describe("a Parquet file of another program", () => {
  it("has each column in its field or in the payload, and times, large numbers and nested values as JSON has them", async () => {
    parquetWriteFile({
      filename: path(),
      columnData: [
        { name: "context_window_id", data: ["a", "\uFEFFb"], type: "STRING" },
        {
          name: "timestamp",
          data: [new Date("2026-01-01T00:00:00.123Z"), new Date("1969-12-31T23:59:59.999Z")],
          type: "TIMESTAMP",
        },
        { name: "raw_content", data: ["", null], type: "STRING" },
        { name: "signal_score", data: [0.1, 0.30000000000000004], type: "DOUBLE" },
        { name: "large", data: [9007199254740993n, 5n], type: "INT64" },
        { name: "payload", data: ['{"n": 12345678901234567890}', null], type: "STRING" },
      ],
    })
    expect(JSON.parse(JSON.stringify(await recordsOf()), (_, value) => value)).toEqual([
      {
        place: `${path()}, row 1`,
        position: "1",
        signal: {
          context_window_id: "a",
          timestamp: "2026-01-01T00:00:00.123000Z",
          raw_content: "",
          signal_score: 0.1,
          payload: { large: Number("9007199254740993"), n: Number("12345678901234567890") },
        },
      },
      {
        place: `${path()}, row 2`,
        position: "2",
        signal: {
          context_window_id: "\uFEFFb",
          timestamp: "1969-12-31T23:59:59.999000Z",
          signal_score: 0.30000000000000004,
          payload: { large: 5 },
        },
      },
    ])
    const { out } = await dryRun()
    expect(out).toContain('"large":9007199254740993,"n":12345678901234567890')
  })

  it("is read row group by row group", async () => {
    parquetWriteFile({
      filename: path(),
      columnData: [
        { name: "room", data: Array.from({ length: 25 }, (_, index) => `c${index}`), type: "STRING" },
      ],
      rowGroupSize: 10,
    })
    const records = await recordsOf({ room: "context_window_id" })
    expect(records.length).toBe(25)
    expect(records[17]).toMatchObject({ signal: { context_window_id: "c17" }, position: "18" })
  })

  it.each<[string, string[], string]>([
    ["no Parquet", [], "in.parquet cannot be read as Parquet: "],
    ["no conversation", [], "in.parquet has no column for context_window_id."],
    ["a wrong column", ["--map", "x=context_window_id"], '--map: in.parquet has no column "x".'],
  ])("is refused with a sentence: %s", async (what, args, sentence) => {
    if (what === "no Parquet") await writeFile(path(), "a,b\n1,2\n")
    else parquetWriteFile({ filename: path(), columnData: [{ name: "room", data: ["c"], type: "STRING" }] })
    const { code, err } = await dryRun(...args)
    expect([code, err]).toEqual([2, expect.stringContaining(sentence)])
    expect(err).not.toMatch(/^\s+at /m)
  })

  it("is not read from standard input", async () => {
    const { code, err } = await run(folder, ["import", "parquet", "-"])
    expect([code, err]).toEqual([2, expect.stringContaining("parquet is read from a file")])
  })
})
