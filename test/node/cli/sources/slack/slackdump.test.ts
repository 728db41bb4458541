import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { gzipSync } from "node:zlib"
import { describe, expect, it } from "vitest"
import { useEmptyTables, useFolder, useRig } from "../../../../setup/hooks/rig.ts"
import { run } from "../../import/importer.ts"

const rig = useRig()
const folder = useFolder()
useEmptyTables(rig)

const signals = (...args: string[]) => run(folder.path, args, { SIGNAL_INGEST_URL: rig.service.address })
const rows = () =>
  rig.query(
    "select context_window_id as conversation, raw_content as text, payload ->> 'user_name' as author, payload ->> 'channel_name' as channel from signals order by time, context_window_id",
  )

const message = (ts: string, more: object = {}) => ({
  type: "message",
  user: "U1",
  text: `said at ${ts}`,
  ts,
  ...more,
})
const USER = { id: "U1", name: "ann", team_id: "T9" }
const CHANNEL = { id: "C7ABCDE", name: "team-sync" }
const STORED = ["1767225600.000100", "1767225601.000200", "1767225602.000300"].map((ts) => ({
  conversation: "T5/C7ABCDE",
  text: `said at ${ts}`,
  author: "ann",
  channel: "team-sync",
}))

/** A chunk a line, as `slackdump archive` writes them. */
async function writeArchive(): Promise<string> {
  const files = {
    "workspace.json.gz": [{ t: 6, ts: 1, w: { team_id: "T5", team: "Ours" } }],
    "users.json.gz": [{ t: 3, ts: 2, u: [USER] }],
    "C7ABCDE.json.gz": [
      { t: 5, ts: 3, id: "C7ABCDE", ci: CHANNEL },
      { t: 0, ts: 4, id: "C7ABCDE", n: 2, m: [message("1767225600.000100"), message("1767225602.000300")] },
      {
        t: 1,
        ts: 5,
        id: "C7ABCDE",
        n: 1,
        r: "1767225600.000100",
        m: [message("1767225601.000200", { thread_ts: "1767225600.000100" })],
      },
    ],
  }
  await mkdir(join(folder.path, "archive/__uploads/F1"), { recursive: true })
  await writeFile(join(folder.path, "archive/__uploads/F1/notes.json"), "not a message")
  for (const [name, chunks] of Object.entries(files))
    await writeFile(
      join(folder.path, "archive", name),
      gzipSync(chunks.map((chunk) => `${JSON.stringify(chunk)}\n`).join("")),
    )
  return "archive"
}

/** The tables of slackdump's database that hold messages and names. */
async function writeDatabase(): Promise<string> {
  await mkdir(join(folder.path, "dump"))
  const db = new DatabaseSync(join(folder.path, "dump/slackdump.sqlite"))
  db.exec(`
    create table MESSAGE (ID integer not null, CHUNK_ID integer not null, CHANNEL_ID text not null, TS text not null, DATA blob not null, primary key (ID, CHUNK_ID));
    create table CHANNEL (ID text not null, CHUNK_ID integer not null, DATA blob not null);
    create table S_USER (ID text not null, CHUNK_ID integer not null, DATA blob not null);
    create table WORKSPACE (ID integer primary key, CHUNK_ID integer not null, TEAM_ID text not null)`)
  const data = (value: unknown) => Buffer.from(JSON.stringify(value))
  const insert = db.prepare("insert into MESSAGE values (?, ?, 'C7ABCDE', ?, ?)")
  for (const [chunk, ts] of [
    [1, "1767225600.000100"],
    [1, "1767225602.000300"],
    [2, "1767225600.000100"],
    [2, "1767225601.000200"],
  ] as const)
    insert.run(Number(ts.replace(".", "")), chunk, ts, data(message(ts)))
  db.prepare("insert into CHANNEL values ('C7ABCDE', 1, ?)").run(data(CHANNEL))
  db.prepare("insert into S_USER values ('U1', 1, ?)").run(data(USER))
  db.prepare("insert into WORKSPACE values (1, 1, 'T5')").run()
  db.close()
  return "dump"
}

describe("signals import slack", () => {
  it.each([
    ["slackdump's archive folder", writeArchive],
    ["slackdump's folder with a database", writeDatabase],
    ["slackdump's database", async () => join(await writeDatabase(), "slackdump.sqlite")],
  ])("takes %s, with names and workspace, also in parts", async (_, write) => {
    const path = await write()
    expect(await signals("import", "slack", path, "--batch-size", "1")).toMatchObject({
      code: 0,
      err: expect.not.stringContaining("Warning"),
      out: expect.stringContaining("3 read, 3 stored, 0 failed"),
    })
    expect(await rows()).toEqual(STORED)
    expect(await signals("verify", "slack", path)).toMatchObject({ code: 0 })
  })

  it("fails only the message of a database that nests too deeply to be written again", async () => {
    const path = join(await writeDatabase(), "slackdump.sqlite")
    const deep = `{"type":"message","blocks":${"[".repeat(20_000)}${"]".repeat(20_000)}}`
    const db = new DatabaseSync(join(folder.path, path))
    db.prepare("insert into MESSAGE values (9, 9, 'C7ABCDE', '9.0', ?)").run(Buffer.from(deep))
    db.close()
    expect(await signals("import", "slack", path)).toMatchObject({
      code: 1,
      out: expect.stringContaining("4 read, 3 stored, 1 failed"),
    })
  })

  it("refuses another database, and says what to do", async () => {
    new DatabaseSync(join(folder.path, "other.db")).exec("create table t (a)")
    const { code, err } = await signals("import", "slack", "other.db")
    expect([code, err]).toEqual([
      2,
      expect.stringMatching(
        /cannot be read as slackdump's database: no such table.*slackdump convert -f export/,
      ),
    ])
  })
})
