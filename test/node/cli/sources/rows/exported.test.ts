import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { openSource } from "../../../../../src/cli/sources/open.ts"
import { CSV_HEADER, csvLine, type ExportedRow, ndjsonLine } from "../../../../../src/signals/lines.ts"
import { useFolder } from "../../../../setup/hooks/rig.ts"

const folder = useFolder()

const ROW = {
  id: 8501,
  time: "2020-01-02T03:04:05.000000Z",
  received_at: "2026-01-01T00:00:00.000000Z",
  transaction_id: "11111111-2222-7333-8444-555555555555",
  context_window_id: "c",
  raw_content: 'one, "two"\nthree',
  signal_source: "test",
  signal_score: 0.25,
  escalate_flag: 1,
  payload: '{"n": 12345678901234567890}',
} as unknown as ExportedRow
const SIGNAL = {
  context_window_id: "c",
  raw_content: 'one, "two"\nthree',
  signal_source: "test",
  signal_score: 0.25,
  escalate_flag: 1,
  payload: { n: Number("12345678901234567890") },
  timestamp: "2020-01-02T03:04:05.000000Z",
}

async function signalOf(kind: "csv" | "jsonl", text: string): Promise<unknown> {
  const path = join(folder.path, `in.${kind}`)
  await writeFile(path, text)
  const { source } = await openSource(kind === "csv" ? { kind, path, delimiter: "," } : { kind, path })
  for await (const record of source.records()) return "signal" in record ? record.signal : record
  return undefined
}
const plain = (value: unknown) => JSON.parse(JSON.stringify(value))

const NAMES = CSV_HEADER.trim().split(",")
const cells = (names: string[]) =>
  names.map((name) => {
    const value = ROW[name as keyof ExportedRow]
    return value === null || value === undefined ? "" : `"${String(value).replaceAll('"', '""')}"`
  })
const table = (names: string[], end = "\n") => `${names.join(",")}${end}${cells(names).join(",")}${end}`

describe("an exported CSV", () => {
  it.each([
    ["as it was written", `${CSV_HEADER}${csvLine(ROW)}`],
    ["with LF", `${CSV_HEADER}${csvLine(ROW)}`.replaceAll("\r\n", "\n")],
    ["with a byte order mark", `\uFEFF${CSV_HEADER}${csvLine(ROW)}`],
    ["with every cell in quotes", table(NAMES)],
    ["with a header in quotes", table(NAMES).replace(/^.*/, (header) => header.replace(/[^,]+/g, '"$&"'))],
    ["with its columns in another order", table(NAMES.toReversed())],
    [
      "without some of its columns",
      table(NAMES.filter((name) => !["diagnostic_notes", "edited_at"].includes(name))),
    ],
    ["with CRLF in the header and LF behind it", `${CSV_HEADER}${csvLine(ROW).replace("\r\n", "\n")}`],
  ])("is known by its names: %s", async (_, text) => {
    const { raw_content, ...signal } = plain(await signalOf("csv", text))
    expect(signal).toEqual(plain((({ raw_content: _text, ...rest }) => rest)(SIGNAL)))
    expect(raw_content).toBe(SIGNAL.raw_content)
  })

  it("distinguishes null from an empty text", async () => {
    const row = { ...ROW, raw_content: "", user_id: null, payload: null } as ExportedRow
    expect(await signalOf("csv", `${CSV_HEADER}${csvLine(row)}`)).toEqual({
      ...SIGNAL,
      raw_content: "",
      payload: undefined,
    })
  })
})

describe("an exported line of JSON", () => {
  const parsed = JSON.parse(ndjsonLine(ROW))
  it.each([
    ["as it was written", ndjsonLine(ROW)],
    [
      "without nulls",
      `${JSON.stringify(Object.fromEntries(Object.entries(parsed).filter(([, value]) => value !== null)))}\n`,
    ],
    ["without its id", `${JSON.stringify({ ...parsed, id: undefined })}\n`],
  ])("is known by its names: %s", async (_, text) => {
    expect(plain(await signalOf("jsonl", text))).toMatchObject(SIGNAL)
  })
})

describe("a record with a time and no timestamp", () => {
  it("is refused in a table", async () => {
    await expect(signalOf("csv", "context_window_id,time\nc,2020-01-01\n")).rejects.toThrow(
      'has a column "time" and none for timestamp, so that each signal would get the time of the import. Add --map time=timestamp',
    )
  })

  it("fails in JSON lines", async () => {
    expect(await signalOf("jsonl", '{"context_window_id":"c","time":"2020-01-01"}\n')).toMatchObject({
      error: expect.stringContaining('The line has "time" and no "timestamp".'),
    })
  })
})

describe("a CSV with other line ends", () => {
  const END = { LF: "\n", CRLF: "\r\n", CR: "\r" }
  const mixtures = Object.keys(END).flatMap((header) => Object.keys(END).map((row) => [header, row] as const))

  it.each(mixtures)("has exact cells: header %s, rows %s, the last one LF", async (header, row) => {
    const [h, r] = [END[header as "LF"], END[row as "LF"]]
    const text = `context_window_id,raw_content,user_id${h}c,one,"u\r\n1"${r}c,two,"u2"${r}c,three,u3\n`
    const path = join(folder.path, "in.csv")
    await writeFile(path, text)
    const { source } = await openSource({ kind: "csv", path, delimiter: "," })
    const found: unknown[] = []
    for await (const record of source.records()) found.push("signal" in record ? record.signal : record)
    expect(found).toEqual([
      { context_window_id: "c", raw_content: "one", user_id: "u\r\n1" },
      { context_window_id: "c", raw_content: "two", user_id: "u2" },
      { context_window_id: "c", raw_content: "three", user_id: "u3" },
    ])
  })

  it.each(["", "§", ",,", '"', "\n"])("is refused with the delimiter %j", async (delimiter) => {
    const path = join(folder.path, "in.csv")
    await writeFile(path, "context_window_id\nc\n")
    await expect(openSource({ kind: "csv", path, delimiter })).rejects.toThrow(
      "--delimiter must be one ASCII character",
    )
  })
})
