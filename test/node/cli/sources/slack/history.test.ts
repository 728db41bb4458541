import { createWriteStream, existsSync } from "node:fs"
import { mkdir, readFile, writeFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { buffer } from "node:stream/consumers"
import { pipeline } from "node:stream/promises"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import { ZipFile } from "yazl"
import { mapSlackEvent } from "../../../../../src/bridges/slack/events.ts"
import { useEmptyTables, useFolder, useRig } from "../../../../setup/hooks/rig.ts"
import { run } from "../../import/importer.ts"

const rig = useRig()
const folder = useFolder()
useEmptyTables(rig)

const message = (ts: string, more: object = {}) => ({
  type: "message",
  user: "U1",
  text: `said at ${ts}`,
  ts,
  team: "T1",
  ...more,
})

/** As Slack writes it: https://slack.com/help/articles/220556107-How-to-read-Slack-data-exports */
const EXPORT: Record<string, unknown> = {
  "users.json": [
    { id: "U1", team_id: "T1", name: "ann", profile: { display_name: "Ann" } },
    { id: "U2", team_id: "T1", name: "ben", profile: { display_name: "" } },
    { id: "U3", team_id: "T9", name: "guest" },
  ],
  "channels.json": [
    { id: "C1", name: "general" },
    { id: "C2", name: "random" },
  ],
  "dms.json": [{ id: "D1ABCDE", members: ["U1", "U2"] }],
  "integration_logs.json": [],
  "general/2026-01-01.json": [
    message("1767225600.000100"),
    message("1767225601.000200", { user: "U2", thread_ts: "1767225600.000100" }),
    { type: "message", subtype: "channel_join", user: "U2", text: "joined", ts: "1767225602.000300" },
  ],
  "general/2026-01-02.json": [message("1767312000.000100", { user: "U3", team: "T9" })],
  "random/2026-01-01.json": [
    message("1767225600.000100", { text: "same time, another channel" }),
    { type: "message", text: "no time" },
  ],
  "D1ABCDE/2026-01-03.json": [message("1767398400.000100", { text: "between us" })],
}

async function writeFolder(): Promise<string> {
  for (const [name, json] of Object.entries(EXPORT)) {
    await mkdir(dirname(join(folder.path, "export", name)), { recursive: true })
    await writeFile(join(folder.path, "export", name), JSON.stringify(json))
  }
  return "export"
}

async function writeZip(): Promise<string> {
  const zip = new ZipFile()
  for (const [name, json] of Object.entries(EXPORT)) zip.addBuffer(Buffer.from(JSON.stringify(json)), name)
  zip.end()
  await pipeline(zip.outputStream, createWriteStream(join(folder.path, "export.zip")))
  return "export.zip"
}

/** A ZIP of one day, changed as its maker would not. */
async function patchedZip(patch: (zip: Buffer) => void): Promise<string> {
  const packer = new ZipFile()
  packer.addBuffer(Buffer.from("[]"), "xx/evil.json")
  packer.end()
  const zip = await buffer(packer.outputStream)
  patch(zip)
  await writeFile(join(folder.path, "x.zip"), zip)
  return "x.zip"
}

function replace(bytes: Buffer, text: string, by: string): void {
  for (let at = bytes.indexOf(text); at !== -1; at = bytes.indexOf(text)) bytes.write(by, at)
}

const signals = (...args: string[]) => run(folder.path, args, { SIGNAL_INGEST_URL: rig.service.address })
const rows = () =>
  rig.query(
    "select context_window_id as conversation, raw_content as text, payload ->> 'user_name' as author, payload ->> 'channel_name' as channel from signals order by time, context_window_id",
  )

const STORED = [
  { conversation: "T1/C1", text: "said at 1767225600.000100", author: "Ann", channel: "general" },
  { conversation: "T1/C2", text: "same time, another channel", author: "Ann", channel: "random" },
  { conversation: "T1/C1", text: "said at 1767225601.000200", author: "ben", channel: "general" },
  { conversation: "T1/C1", text: "said at 1767312000.000100", author: "guest", channel: "general" },
  { conversation: "T1/D1ABCDE", text: "between us", author: "Ann", channel: "Ann, ben" },
]

describe("signals import slack", () => {
  it.each([
    ["an export's folder", writeFolder],
    ["an export's ZIP", writeZip],
  ])("takes %s, with the names of people and channels", async (_, write) => {
    const path = await write()
    const ended = await signals("import", "slack", path)
    expect(ended).toMatchObject({
      code: 1,
      out: expect.stringContaining("7 read, 5 stored, 1 failed, skipped: 1 channel_join"),
    })
    expect(await rows()).toEqual(STORED)
    expect(await signals("verify", "slack", path)).toMatchObject({ code: 0 })
  })

  it("gives a message the same dedupe_key as the webhook does", async () => {
    await signals("import", "slack", await writeFolder())
    const event = { ...message("1767225600.000100"), channel: "C1" }
    const live = mapSlackEvent({ team_id: "T1", event }) as { signal: { dedupe_key: string } }
    expect(
      await rig.query("select raw_content from signals where dedupe_key = $1", [live.signal.dedupe_key]),
    ).toHaveLength(1)
  })

  it("reads slackdump's dump of a conversation with its threads", async () => {
    const replies = [
      message("1767225600.000100"),
      message("1767225605.000100", { thread_ts: "1767225600.000100" }),
    ]
    const dump = {
      channel_id: "C7",
      name: "team-sync",
      messages: [
        message("1767225600.000100", { slackdump_thread_replies: replies }),
        message("1767225700.000100"),
      ],
    }
    await writeFile(join(folder.path, "C7.json"), JSON.stringify(dump))
    expect(await signals("import", "slack", "C7.json", "--team", "T5")).toMatchObject({
      code: 0,
      out: expect.stringContaining("3 stored"),
    })
    expect(new Set((await rows()).map((row) => (row as { conversation: string }).conversation))).toEqual(
      new Set(["T1/C7"]),
    )
  })

  it("reads slackdump's recording, whose chunks name users, channels and the workspace", async () => {
    const chunks = [
      { t: 6, ts: 1, w: { team_id: "T5", team: "Ours" } },
      { t: 3, ts: 2, u: [{ id: "U1", name: "ann", team_id: "T5" }] },
      { t: 5, ts: 3, id: "C7", ci: { id: "C7", name: "team-sync" } },
      { t: 0, ts: 4, id: "C7", n: 2, m: [message("1767225600.000100"), message("1767225601.000100")] },
      {
        t: 1,
        ts: 5,
        id: "C7",
        n: 1,
        r: "1767225600.000100",
        p: message("1767225600.000100"),
        m: [message("1767225602.000100", { thread_ts: "1767225600.000100" })],
      },
      { t: 2, ts: 6, id: "C7", n: 0, f: [] },
    ]
    await writeFile(
      join(folder.path, "recording.jsonl"),
      chunks.map((chunk) => `${JSON.stringify(chunk)}\n`).join(""),
    )
    expect(await signals("import", "slack", "recording.jsonl", "--batch-size", "1")).toMatchObject({
      code: 0,
      out: expect.stringContaining("3 read, 3 stored"),
    })
    expect(await rows()).toMatchObject(
      [1, 2, 3].map(() => ({ conversation: "T5/C7", author: "ann", channel: "team-sync" })),
    )
  })

  it("uses --team only for a message that does not name its workspace", async () => {
    const dump = {
      channel_id: "C7",
      messages: [message("1767225600.000100"), message("1767225700.000100", { team: undefined })],
    }
    await writeFile(join(folder.path, "C7.json"), JSON.stringify(dump))
    expect(await signals("import", "slack", "C7.json")).toMatchObject({
      code: 1,
      out: expect.stringContaining("1 stored, 1 failed"),
    })
    expect(await signals("import", "slack", "C7.json", "--team", "T5")).toMatchObject({ code: 0 })
    expect(await rows()).toMatchObject([{ conversation: "T1/C7" }, { conversation: "T5/C7" }])
  })

  it("keeps a whole message without a workspace in the failures file, which can be imported with --team or corrected", async () => {
    const bare = { ...message("1767225600.000100", { channel: "C1", blocks: [] }), team: undefined }
    await writeFile(join(folder.path, "messages.jsonl"), `${JSON.stringify(bare)}\n{"broken": \n`)
    const first = await signals("import", "slack", "messages.jsonl", "--failures", "failed.jsonl")
    expect(first).toMatchObject({
      code: 1,
      out: expect.stringContaining("Correct them, then run: signals import slack failed.jsonl"),
    })
    const failed = (await readFile(join(folder.path, "failed.jsonl"), "utf8"))
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line))
    expect(failed).toEqual([
      {
        _message: JSON.parse(JSON.stringify(bare)),
        _error: "The message does not name its workspace: give --team",
        _code: "unreadable_record",
        _place: "messages.jsonl:1",
      },
      {
        _line: '{"broken": ',
        _error: "The line is not JSON",
        _code: "unreadable_record",
        _place: "messages.jsonl:2",
      },
    ])
    expect(await signals("import", "slack", "failed.jsonl", "--team", "T1")).toMatchObject({
      code: 1,
      out: expect.stringContaining("2 read, 1 stored, 1 failed"),
    })
    await writeFile(
      join(folder.path, "corrected.jsonl"),
      `${JSON.stringify({ ...failed[0], _message: { ...failed[0]._message, team: "T2" } })}\n`,
    )
    expect(await signals("import", "jsonl", "corrected.jsonl")).toMatchObject({ code: 0 })
    const live = mapSlackEvent({ team_id: "T1", event: { ...bare, channel: "C1" } }) as {
      signal: { dedupe_key: string }
    }
    expect(
      await rig.query("select context_window_id from signals where dedupe_key = $1", [
        live.signal.dedupe_key,
      ]),
    ).toEqual([{ context_window_id: "T1/C1" }])
    // Channel and time name a message, so that the one of the other workspace is the same.
    expect(await rows()).toMatchObject([{ conversation: "T1/C1" }])
  })

  it("reads a folder again after files were added", async () => {
    await writeFolder()
    await signals("import", "slack", "export")
    await writeFile(
      join(folder.path, "export/general/2025-12-31.json"),
      JSON.stringify([message("1767139200.000100")]),
    )
    expect(await signals("import", "slack", "export")).toMatchObject({
      out: expect.stringMatching(/^Imported: 8 read, 6 stored/),
    })
    expect(await rows()).toHaveLength(STORED.length + 1)
    expect(await signals("verify", "slack", "export")).toMatchObject({ code: 0 })
  })

  it.each(["log.txt", "log", "log.json", "export.zip.txt"])(
    "reads %s by its content, not its name",
    async (name) => {
      const lines = ["1767225600.000100", "1767225601.000100"].map((ts) =>
        JSON.stringify(message(ts, { channel: "C1" })),
      )
      await writeFile(join(folder.path, name), lines.join("\n"))
      expect(await signals("import", "slack", name)).toMatchObject({
        code: 0,
        out: expect.stringContaining("2 stored"),
      })
    },
  )

  it("reads a day of several lines, and a ZIP with everything in one folder", async () => {
    const zip = new ZipFile()
    for (const [name, json] of Object.entries(EXPORT))
      zip.addBuffer(Buffer.from(JSON.stringify(json, null, 2)), `mine/${name}`)
    zip.addBuffer(Buffer.from("junk"), "__MACOSX/mine/general/._2026-01-01.json")
    zip.end()
    await pipeline(zip.outputStream, createWriteStream(join(folder.path, "export.zip")))
    expect(await signals("import", "slack", "export.zip")).toMatchObject({
      out: expect.stringContaining("7 read, 5 stored, 1 failed"),
    })
    expect(await rows()).toEqual(STORED)
  })

  it("fails a message that is a long number, and reads the source to its end", async () => {
    await mkdir(join(folder.path, "export/general"), { recursive: true })
    await writeFile(join(folder.path, "export/users.json"), JSON.stringify(EXPORT["users.json"]))
    await writeFile(join(folder.path, "export/channels.json"), JSON.stringify(EXPORT["channels.json"]))
    await writeFile(
      join(folder.path, "export/general/2026-01-01.json"),
      `[12345678901234567890, ${JSON.stringify(message("1767225600.000100"))}]`,
    )
    const ended = await signals("import", "slack", "export")
    expect(ended).toMatchObject({ code: 1, out: expect.stringContaining("1: This is not a message") })
    expect(ended.err).toMatch(/^100 %, 2 read/m)
  })

  it.each([
    [
      "an empty folder",
      async () => mkdir(join(folder.path, "empty")).then(() => "empty"),
      "empty has no messages",
    ],
    [
      "a file that is no ZIP",
      async () => writeFile(join(folder.path, "x.zip"), "no zip").then(() => "x.zip"),
      "x.zip is not a readable ZIP",
    ],
    [
      "a text",
      async () => writeFile(join(folder.path, "x.txt"), "hello").then(() => "x.txt"),
      "x.txt is not a Slack history",
    ],
    [
      "a ZIP with a path out of it",
      () => patchedZip((zip) => replace(zip, "xx/evil.json", "../evil.json")),
      "invalid relative path: ../evil.json",
    ],
    [
      "a ZIP with a file that unpacks to 3 GiB",
      () => patchedZip((zip) => zip.writeUInt32LE(3 * 2 ** 30, zip.indexOf("PK\u0001\u0002") + 24)),
      "xx/evil.json has 3072 MiB unpacked, more than 256 MiB",
    ],
  ])("refuses %s with a sentence", async (_, make, sentence) => {
    const { code, err } = await signals("import", "slack", await make())
    expect([code, err]).toEqual([2, expect.stringContaining(sentence)])
    expect(err).not.toMatch(/^\s+at /m)
  })
})

/**
 * 1,280 real Slack events, pseudonymised. They are not part of this project, so the test is skipped where
 * they are missing.
 */
const DAY = fileURLToPath(new URL("../../../../../../shared/data/slack-day.jsonl", import.meta.url))
if (!existsSync(DAY))
  console.log("skipped: the day of Slack events (shared/data/slack-day.jsonl) is not on this machine")

describe.runIf(existsSync(DAY))("a day of real Slack messages", () => {
  it("writes the guide's batch for curl in one command, and imports the same", async () => {
    expect(await signals("import", "slack", DAY, "-o", "batch.json", "--batch-size", "1000")).toMatchObject({
      code: 0,
      err: "861 signals in batch.json.\n",
    })
    const body = await readFile(join(folder.path, "batch.json"), "utf8")
    const response = await fetch(`${rig.service.address}/api/signals/batch`, {
      method: "POST",
      body,
      headers: { "Content-Type": "application/json" },
    })
    expect(await response.json()).toMatchObject({ successful_count: 861, failed_count: 0 })
    const imported = await signals("import", "slack", DAY)
    expect(imported).toMatchObject({
      code: 0,
      out: expect.stringContaining("1280 read, 861 stored, 0 failed, skipped: "),
    })
    expect(await rig.query("select count(*)::int4 as count from signals")).toEqual([{ count: 861 }])
    expect(await signals("verify", "slack", DAY)).toMatchObject({ code: 0 })
  })
})
