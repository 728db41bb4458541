import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { useEmptyTables, useFolder, useRig } from "../../../../setup/hooks/rig.ts"
import { run } from "../../import/importer.ts"

const rig = useRig()
const folder = useFolder()
useEmptyTables(rig)

const signals = (...args: string[]) => run(folder.path, args, { SIGNAL_INGEST_URL: rig.service.address })
const file = (name: string, text: string | Buffer) => writeFile(join(folder.path, name), text)

describe("signals import csv", () => {
  it("fails only the row that is not UTF-8, and the row with too many cells", async () => {
    await file(
      "in.csv",
      Buffer.concat([
        Buffer.from("context_window_id,raw_content\nc,0\nc,caf"),
        Buffer.from([0xe9]),
        Buffer.from("\nc,1,x\nc,2\n"),
      ]),
    )
    expect(await signals("import", "csv", "in.csv", "--failures", "failed.jsonl")).toMatchObject({
      code: 1,
      out: expect.stringContaining("4 read, 2 stored, 2 failed"),
    })
    const failed = (await readFile(join(folder.path, "failed.jsonl"), "utf8"))
      .trimEnd()
      .split("\n")
      .map((text) => JSON.parse(text))
    expect(Buffer.from(failed[0]._base64, "base64").toString("latin1")).toBe("c,café\n")
    expect(failed[1]).toMatchObject({
      _line: "c,1,x",
      _error: expect.stringContaining("Invalid Record Length"),
    })
  })

  it("reads UTF-16 with its mark, and names in any script", async () => {
    await file("in.csv", Buffer.from("\uFEFFraum,größe,raw_content\ncafé,ß,5\n", "utf16le"))
    expect(await signals("import", "csv", "in.csv", "--map", "raum=context_window_id")).toMatchObject({
      code: 0,
    })
    expect(await rig.query("select context_window_id, payload from signals")).toEqual([
      { context_window_id: "café", payload: { größe: "ß" } },
    ])
  })

  it.each([
    ["room,text\na,b\n", [], "no column for context_window_id. Its columns are: room, text."],
    ["room;text\na;b\n", [], "Or choose another --delimiter."],
    ["a,a\n1,2\n", [], 'two columns named "a"'],
    [
      "context_window_id,__proto__\nc,1\n",
      [],
      'a column named "__proto__", which cannot be read. Rename it.',
    ],
    ["context_window_id\nc\n", ["--map", "x=user_id"], 'no column "x"'],
  ])("names a mistake that every row would repeat: %j", async (text, args, sentence) => {
    await file("in.csv", text)
    expect(await signals("import", "csv", "in.csv", ...args)).toMatchObject({
      code: 2,
      err: expect.stringContaining(sentence),
    })
  })

  it("fails only the row whose payload nests too deeply to be written again", async () => {
    const deep = `${"[".repeat(20_000)}${"]".repeat(20_000)}`
    await file("in.csv", `context_window_id,payload\nc,"${deep}"\nc,\n`)
    expect(await signals("import", "csv", "in.csv", "--failures", "failed.jsonl")).toMatchObject({
      code: 1,
      out: expect.stringContaining("2 read, 1 stored, 1 failed"),
    })
    expect(JSON.parse(await readFile(join(folder.path, "failed.jsonl"), "utf8"))).toMatchObject({
      _error: "The value nests deeper than 1000 levels",
      _line: `c,"${deep}"`,
    })
  })

  it("stores columns by their names or the map, the others in the payload", async () => {
    await file(
      "in.csv",
      '\uFEFFroom,raw_content,signal_score,team,payload\r\n"a ""b""",7,0.25,red,"{""k"": 1}"\r\na,"8\nmore",,blue,\r\n',
    )
    expect(await signals("import", "csv", "in.csv", "--map", "room=context_window_id")).toMatchObject({
      code: 0,
    })
    const rows = await rig.query(
      "select context_window_id, raw_content, signal_score, payload from signals order by id",
    )
    expect(rows).toEqual([
      { context_window_id: 'a "b"', raw_content: "7", signal_score: 0.25, payload: { team: "red", k: 1 } },
      { context_window_id: "a", raw_content: "8\nmore", signal_score: 0.5, payload: { team: "blue" } },
    ])
    expect(await signals("verify", "csv", "in.csv", "--map", "room=context_window_id")).toMatchObject({
      code: 0,
    })
  })
})
