import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { describe, expect, it } from "vitest"
import { useFolder, useRig } from "../../../../setup/hooks/rig.ts"
import { run } from "../../import/importer.ts"

const rig = useRig({ SLACK_FOLLOW_EDITS: "true" })
const folder = useFolder()

const importSlack = (...args: string[]) =>
  run(folder.path, ["import", "slack", ...args, "--team", "T1"], { SIGNAL_INGEST_URL: rig.service.address })

/** A channel no other test writes to. */
let channels = 0
const freshChannel = () => `C${String(++channels).padStart(6, "0")}`

const EDITED = "1767225600.000100"
const DELETED = "1767225601.000200"
const said = (ts: string, more: object = {}) => ({
  type: "message",
  user: "U1",
  text: `said at ${ts}`,
  ts,
  ...more,
})
const edited = said(EDITED, { text: "edited", edited: { user: "U1", ts: "1767225700.000000" } })
const tombstone = said(DELETED, {
  user: "USLACKBOT",
  subtype: "tombstone",
  text: "This message was deleted.",
  hidden: true,
})

/** The history as it is before and after both messages were changed. */
const BEFORE = [said(EDITED), said(DELETED)]
const AFTER = [edited, tombstone]

type Messages = readonly object[]

async function writeExport(name: string, channel: string, messages: Messages): Promise<string> {
  await mkdir(join(folder.path, name, channel), { recursive: true })
  await writeFile(join(folder.path, name, channel, "2026-01-01.json"), JSON.stringify(messages))
  return name
}

async function writeDump(name: string, channel: string, messages: Messages): Promise<string> {
  await writeFile(
    join(folder.path, `${name}.json`),
    JSON.stringify({ channel_id: channel, name: "general", messages }),
  )
  return `${name}.json`
}

async function writeDatabase(name: string, channel: string, messages: Messages): Promise<string> {
  const db = new DatabaseSync(join(folder.path, `${name}.sqlite`))
  db.exec(`
    create table MESSAGE (ID integer not null, CHUNK_ID integer not null, CHANNEL_ID text not null, TS text not null, DATA blob not null);
    create table CHANNEL (ID text not null, CHUNK_ID integer not null, DATA blob not null);
    create table S_USER (ID text not null, CHUNK_ID integer not null, DATA blob not null);
    create table WORKSPACE (ID integer primary key, CHUNK_ID integer not null, TEAM_ID text not null)`)
  const insert = db.prepare("insert into MESSAGE values (?, 1, ?, ?, ?)")
  for (const [index, message] of messages.entries())
    insert.run(index, channel, EDITED, Buffer.from(JSON.stringify(message)))
  db.close()
  return `${name}.sqlite`
}

/** One event of the Events API on each line. */
async function writeLog(name: string, channel: string, messages: Messages): Promise<string> {
  const events = messages.map((message) => {
    if (message === edited)
      return {
        type: "message",
        subtype: "message_changed",
        hidden: true,
        channel,
        message,
        ts: "1767225700.000100",
      }
    if (message === tombstone)
      return { type: "message", subtype: "message_deleted", hidden: true, channel, deleted_ts: DELETED }
    return { ...message, channel }
  })
  const lines = events.map((event) => JSON.stringify({ type: "event_callback", team_id: "T1", event }))
  await writeFile(join(folder.path, `${name}.jsonl`), lines.join("\n"))
  return `${name}.jsonl`
}

const rowsOf = (channel: string) =>
  rig.query<{ raw_content: string; edited_at: Date | null }>(
    "select raw_content, edited_at from signals where context_window_id = $1",
    [`T1/${channel}`],
  )

describe("import slack --follow-edits", () => {
  it.each([
    ["an export", writeExport],
    ["slackdump's dump", writeDump],
    ["slackdump's database", writeDatabase],
    ["a log of events", writeLog],
  ])("ends in the state of the newer of two histories, whichever comes first: %s", async (_, write) => {
    for (const isNewerFirst of [false, true]) {
      const channel = freshChannel()
      const older = await write(`older-${channel}`, channel, BEFORE)
      const newer = await write(`newer-${channel}`, channel, AFTER)
      for (const path of isNewerFirst ? [newer, older] : [older, newer]) {
        const ended = await importSlack(path, "--follow-edits")
        expect(ended).toMatchObject({ code: 0, out: expect.stringContaining("2 read") })
      }
      expect(await rowsOf(channel)).toEqual([
        { raw_content: "edited", edited_at: new Date("2026-01-01T00:01:40Z") },
      ])
    }
  })
})

describe("import slack without it", () => {
  it("skips a tombstone by name, and still replaces an older message with its edited copy", async () => {
    const channel = freshChannel()
    await importSlack(await writeExport("older", channel, BEFORE))
    expect(await importSlack(await writeExport("newer", channel, AFTER))).toMatchObject({
      code: 0,
      out: expect.stringContaining("skipped: 1 tombstone"),
    })
    expect((await rowsOf(channel)).map(({ raw_content }) => raw_content).toSorted()).toEqual([
      "edited",
      `said at ${DELETED}`,
    ])
  })
})
