import { createWriteStream } from "node:fs"
import { mkdir, writeFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { pipeline } from "node:stream/promises"
import { describe, expect, it } from "vitest"
import { ZipFile } from "yazl"
import { openSource } from "../../../../../src/cli/sources/open.ts"
import { useFolder } from "../../../../setup/hooks/rig.ts"

const folder = useFolder()

const message = (text: string, more: object = {}) => ({
  type: "message",
  user: "U1",
  text,
  ts: "1767225600.000100",
  team: "T1",
  ...more,
})

/** Writes a history as a folder or as a ZIP. */
async function write(files: Record<string, unknown>, form: "folder" | "ZIP"): Promise<string> {
  if (form === "folder") {
    for (const [name, json] of Object.entries(files)) {
      const path = join(folder.path, "export", name)
      await mkdir(dirname(path), { recursive: true })
      await writeFile(path, JSON.stringify(json))
    }
    return join(folder.path, "export")
  }
  const zip = new ZipFile()
  for (const [name, json] of Object.entries(files)) zip.addBuffer(Buffer.from(JSON.stringify(json)), name)
  zip.end()
  await pipeline(zip.outputStream, createWriteStream(join(folder.path, "export.zip")))
  return join(folder.path, "export.zip")
}

async function recordsOf(path: string) {
  const { source } = await openSource({ kind: "slack", path })
  const signals: unknown[] = []
  const others: unknown[] = []
  for await (const { position: _, ...record } of source.records())
    if ("signal" in record) signals.push([record.signal.context_window_id, record.signal.raw_content])
    else others.push(record)
  return { signals: signals.sort(), others }
}

const NAMES = ["attachments", "canvases", "channels", "dms", "groups", "lists", "mpims", "users", "general"]

describe.each(["folder", "ZIP"] as const)("an export as a %s", (form) => {
  it.each(["", "our export/"])(
    "has the messages of each channel, whatever its name is (%j)",
    async (root) => {
      const files = {
        "users.json": [{ id: "U1", team_id: "T1", name: "ann" }],
        "channels.json": NAMES.map((name, index) => ({ id: `C${index}`, name })),
        "groups.json": [],
        "dms.json": [],
        "mpims.json": [],
        ...Object.fromEntries(NAMES.map((name) => [`${name}/2026-01-01.json`, [message(`in ${name}`)]])),
      }
      const rooted = Object.fromEntries(Object.entries(files).map(([name, json]) => [`${root}${name}`, json]))
      const { signals, others } = await recordsOf(await write(rooted, form))
      expect(signals).toEqual(NAMES.map((name, index) => [`T1/C${index}`, `in ${name}`]).sort())
      expect(others).toEqual([])
    },
  )

  it.each(["é", "й", "が", "한국"])("knows a channel whose name macOS has decomposed: %s", async (name) => {
    const files = {
      "channels.json": [{ id: "C1", name: name.normalize("NFC") }],
      [`${name.normalize("NFD")}/2026-01-01.json`]: [message("hello")],
    }
    expect(await recordsOf(await write(files, form))).toEqual({ signals: [["T1/C1", "hello"]], others: [] })
  })

  it("counts the JSON files that it leaves out", async () => {
    const files = {
      "channels.json": [{ id: "C1", name: "general" }],
      "general/2026-01-01.json": [message("hello")],
      "general/attachments/report.json": { some: "upload" },
      "C2.json": { channel_id: "C2", messages: [message("dumped")] },
      "C2/upload.json": { some: "upload" },
      "__MACOSX/general/2026-01-01.json": "resource fork",
    }
    const { signals, others } = await recordsOf(await write(files, form))
    expect(signals).toEqual([
      ["T1/C1", "hello"],
      ["T1/C2", "dumped"],
    ])
    expect(others).toEqual([
      { place: "C2/upload.json", skipped: "file_without_messages" },
      { place: "general/attachments/report.json", skipped: "file_without_messages" },
    ])
  })
})

describe("a merged archive of slackdump", () => {
  it.each([
    [
      "the earlier chunk",
      [{ edited: { user: "U1", ts: "1767225700.000000" }, text: "edited" }, { text: "first" }],
    ],
    [
      "the later chunk",
      [{ text: "first" }, { edited: { user: "U1", ts: "1767225700.000000" }, text: "edited" }],
    ],
    [
      "the newest of two edits",
      [
        { edited: { user: "U1", ts: "1767225900.000000" }, text: "edited" },
        { edited: { user: "U1", ts: "1767225700.000000" }, text: "before" },
      ],
    ],
  ])("gives the newest edit of a message: %s", async (_, copies) => {
    const path = join(folder.path, "slackdump.sqlite")
    const db = new DatabaseSync(path)
    db.exec(`
      create table message (id integer, chunk_id integer, channel_id text, ts text, data blob);
      create table s_user (id text, chunk_id integer, data blob);
      create table channel (id text, chunk_id integer, data blob);
      create table workspace (id integer, chunk_id integer, team_id text);
      insert into workspace values (1, 1, 'T1');`)
    for (const [chunk, { text, ...more }] of copies.entries())
      db.prepare("insert into message values (1, ?, 'C1', '1767225600.000100', ?)").run(
        chunk,
        JSON.stringify(message(text, more)),
      )
    db.prepare("insert into message values (2, 1, 'C1', '1767225601.000100', ?)").run(
      JSON.stringify(message("another", { ts: "1767225601.000100" })),
    )
    db.close()
    expect((await recordsOf(path)).signals).toEqual([
      ["T1/C1", "another"],
      ["T1/C1", "edited"],
    ])
  })
})
