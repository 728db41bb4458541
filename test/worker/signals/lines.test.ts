import { describe, expect, it } from "vitest"
import { CSV_HEADER, csvLine, type ExportedRow, ndjsonLine } from "../../../src/signals/lines.ts"

const ROW: ExportedRow = {
  id: 7,
  time: "2025-01-15T09:30:00.123456Z",
  received_at: "2025-01-15T09:30:01.000001Z",
  edited_at: null,
  transaction_id: "0194694c-5e3b-7a3c-9d2e-5f1b8c6a4e70",
  context_window_id: "conv",
  raw_content: null,
  signal_source: "unknown",
  signal_score: 0.1,
  signal_vector: null,
  emotional_tone: null,
  escalate_flag: 0,
  agent_id: null,
  user_id: null,
  payload: null,
  relationship_context: null,
  diagnostic_notes: null,
  dedupe_key: null,
}

/** The cell of `raw_content` in a line of CSV. */
const cellOf = (raw_content: string | null) =>
  csvLine({ ...ROW, raw_content }).slice(
    "7,2025-01-15T09:30:00.123456Z,2025-01-15T09:30:01.000001Z,,0194694c-5e3b-7a3c-9d2e-5f1b8c6a4e70,conv,"
      .length,
    -",unknown,0.1,,,0,,,,,,,\r\n".length,
  )

describe("a line of CSV", () => {
  it("has a cell for each name of the header", () => {
    const line = csvLine(ROW)
    expect(line.split(",").length).toBe(CSV_HEADER.split(",").length)
    expect([CSV_HEADER.slice(-2), line.slice(-2)]).toEqual(["\r\n", "\r\n"])
  })

  it.each<[string | null, string]>([
    [null, ""],
    ["", '""'],
    ["plain", "plain"],
    ["a,b", '"a,b"'],
    ['say "hi"', '"say ""hi"""'],
    ["one\ntwo", '"one\ntwo"'],
    ["one\rtwo", '"one\rtwo"'],
    ["null", "null"],
    [" edge ", " edge "],
    ["\u0001\u2028é😀", "\u0001\u2028é😀"],
    ['"'.repeat(70_000), `"${'"'.repeat(140_000)}"`],
  ])("spells %j", (text, cell) => expect(cellOf(text)).toBe(cell))
})

describe("a line of NDJSON", () => {
  it("is one line for any text, with the digits of the payload unchanged", () => {
    const payload = '{"id": 12345678901234567890, "x": 1.10}'
    const line = ndjsonLine({ ...ROW, raw_content: 'a\n"b"\u2028', payload })
    expect(line.indexOf("\n")).toBe(line.length - 1)
    expect(line).toContain(`"payload":${payload},`)
    expect(JSON.parse(line)).toEqual({ ...ROW, raw_content: 'a\n"b"\u2028', payload: JSON.parse(payload) })
  })

  it.each([
    ["U+2028", "\u2028"],
    ["U+2029", "\u2029"],
    ["U+0085", "\u0085"],
    ["each of them, a million times", "\u2028\u2029\u0085".repeat(350_000)],
  ])("has %s escaped, at which some readers of lines end a line", (_, text) => {
    const row = {
      ...ROW,
      raw_content: text,
      user_id: text.slice(0, 9),
      payload: JSON.stringify({ [text]: text }),
    }
    const line = ndjsonLine(row)
    expect(/[\u0085\u2028\u2029]/.test(line)).toBe(false)
    expect(JSON.parse(line)).toEqual({ ...row, payload: { [text]: text } })
  })

  it("marks a payload that is left out, and has no such field otherwise", () => {
    expect(JSON.parse(ndjsonLine({ ...ROW, payload_omitted: true }))).toEqual({
      ...ROW,
      payload_omitted: true,
    })
    expect(Object.keys(JSON.parse(ndjsonLine(ROW)) as object)).toEqual(Object.keys(ROW))
  })
})
