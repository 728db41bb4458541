import { readFile, stat } from "node:fs/promises"
import { mapSlackEvent } from "../../bridges/slack/events.ts"
import { UsageError } from "../usage.ts"
import { readJsonLine } from "./jsonl.ts"
import { linesOf, shareOfBytes } from "./lines.ts"
import { type ExportFiles, openExport } from "./slack-files.ts"
import { SlackNames } from "./slack-names.ts"
import type { Source, SourceRecord } from "./source.ts"

type Fields = Record<string, unknown>

const isFields = (value: unknown): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value)

/**
 * The messages of a Slack history: a workspace export (ZIP or folder), slackdump's dump (JSON) or recording (JSONL), or one message a line.
 * They are mapped as the webhook maps live ones, with the same dedupe_key, so that what came both ways is stored once.
 *
 * @param options.team the workspace, where the history does not tell
 * @see https://slack.com/help/articles/220556107-How-to-read-Slack-data-exports
 * @see https://github.com/rusq/slackdump/blob/master/internal/chunk/chunk.go
 */
export async function openSlackExport(path: string, options: { team?: string | undefined }): Promise<Source> {
  const isFile = (await stat(path).catch(() => undefined))?.isFile()
  if (isFile && /\.jsonl(\.gz)?$|\.ndjson$/.test(path)) {
    const share = shareOfBytes(path)
    return {
      share: share && ((position) => share(Number(position.split(":")[0]))),
      records: (from) => fromLines(path, options.team, from),
    }
  }
  const files: ExportFiles =
    isFile && path.endsWith(".json") ? { names: [path], read: (name) => readFile(name, "utf8") } : await openExport(path)
  const count = files.names.length
  return { share: (position) => Number(position.split(":")[0]) / count, records: (from) => fromFiles(files, options.team, from) }
}

/** In the order of an export's folders; a position is the number of the file and of the message in it. */
async function* fromFiles(files: ExportFiles, team: string | undefined, from = "0:0"): ReturnType<Source["records"]> {
  const names = new SlackNames()
  const read = async (name: string) => (files.names.includes(name) ? readJsonLine(await files.read(name))?.json : undefined)
  names.addUsers(await read("users.json"))
  for (const list of ["channels", "groups", "mpims", "dms"]) names.addChannels(await read(`${list}.json`))
  const [fileFrom = 0, messageFrom = 0] = from.split(":").map(Number)
  const parts = files.names.filter((name) => name.endsWith(".json") && !ABOUT.has(name))
  if (parts.length === 0)
    throw new UsageError("There is no message in it: a Slack export has a folder of JSON files for each channel.")
  for (const [fileNumber, name] of parts.entries()) {
    if (fileNumber < fileFrom) continue
    const json = readJsonLine(await files.read(name))?.json
    const folder = name.split("/").at(-2)
    let number = 0
    for (const { message, channel } of messagesOf(json, folder === undefined ? undefined : names.channelId(folder))) {
      number++
      if (fileNumber === fileFrom && number <= messageFrom) continue
      const place = `${name}#${number}`
      yield { ...recordOf(message, { channel, team: team ?? names.team, names }, place), position: `${fileNumber}:${number}` }
    }
    if (json === undefined && !(fileNumber === fileFrom && messageFrom > 0))
      yield { place: name, fault: "not JSON", position: `${fileNumber}:1` }
  }
}

/** What an export has beside messages. */
const ABOUT = new Set([
  "users.json",
  "channels.json",
  "groups.json",
  "mpims.json",
  "dms.json",
  "integration_logs.json",
  "canvases.json",
  "file_conversations.json",
  "lists.json",
  "huddle_transcripts.json",
  "org_users.json",
  "workspace.json",
])

/** Messages of a day (a list), or of slackdump's dump of a conversation, its threads below their first message. */
function* messagesOf(json: unknown, channel: string | undefined): Generator<{ message: unknown; channel: unknown }> {
  if (Array.isArray(json)) {
    for (const message of json) yield* withReplies(message, channel)
  } else if (isFields(json) && Array.isArray(json.messages)) {
    for (const message of json.messages) yield* withReplies(message, json.channel_id ?? json.id ?? channel)
  }
}

function* withReplies(message: unknown, channel: unknown): Generator<{ message: unknown; channel: unknown }> {
  if (!isFields(message)) return yield { message, channel }
  const { slackdump_thread_replies: replies, ...own } = message
  yield { message: own, channel }
  if (!Array.isArray(replies)) return
  // The first reply of a dump may be the message itself once more.
  for (const reply of replies) if (!isFields(reply) || reply.ts !== own.ts) yield { message: reply, channel }
}

/**
 * One message, event or envelope a line, or slackdump's chunks of several. A position is the byte after a line and how many messages of
 * that line are done.
 */
async function* fromLines(path: string, team: string | undefined, from = "0:0"): ReturnType<Source["records"]> {
  const names = new SlackNames()
  const [endFrom = 0, doneFrom = 0] = from.split(":").map(Number)
  // From the first line on, since what names people and channels may stand before.
  for await (const { number, text, end } of linesOf(path)) {
    const line = text.trim() === "" ? undefined : readJsonLine(text)
    if (isFields(line?.json)) learnNames(line.json, names)
    if (text.trim() === "" || end < endFrom) continue
    const records =
      line === undefined
        ? [{ place: `${path}:${number}`, fault: "not JSON" }]
        : recordsOfLine(line.json, { team, names }, `${path}:${number}`)
    for (const [at, record] of records.entries())
      if (end > endFrom || at >= doneFrom) yield { ...record, position: `${end}:${at + 1}` }
  }
}

/** A chunk of slackdump's recording may tell of users (u), channels (ch, ci) and the workspace (w). */
function learnNames(line: Fields, names: SlackNames): void {
  if (typeof line.t !== "number") return
  names.addUsers(line.u)
  names.addChannels(line.ci === undefined ? line.ch : [line.ci])
  if (isFields(line.w)) names.addTeam(line.w.team_id)
}

function recordsOfLine(line: unknown, { team, names }: Omit<Around, "channel">, place: string): SourceRecord[] {
  if (!isFields(line)) return [{ place, fault: "not a JSON object" }]
  if (typeof line.t === "number") {
    const messages = Array.isArray(line.m) ? line.m : []
    return messages.map((message, at) =>
      recordOf(message, { channel: line.id, team: team ?? names.team, names }, `${place}#${at + 1}`),
    )
  }
  const isEnvelope = line.type === "event_callback"
  const told = typeof line.team_id === "string" && isEnvelope ? line.team_id : names.team
  return [recordOf(isEnvelope ? line.event : line, { channel: undefined, team: team ?? told, names }, place)]
}

interface Around {
  channel: unknown
  team: string | undefined
  names: SlackNames
}

function recordOf(message: unknown, { channel, team, names }: Around, place: string): SourceRecord {
  if (!isFields(message)) return { place, fault: "not a message" }
  const event: Fields = { type: "message", ...message, channel: message.channel ?? channel }
  const delivered = mapSlackEvent({ team_id: team ?? message.team ?? message.user_team, event })
  if ("skipped" in delivered) return { place, skipped: delivered.skipped }
  if ("refused" in delivered)
    return {
      place,
      fault: delivered.refused.startsWith("team_id") ? "its workspace is not told: give --team" : delivered.refused,
    }
  const { payload, ...signal } = delivered.signal as Fields & { payload: Fields }
  const { envelope: _, ...rest } = payload
  const named = { user_name: names.userName(message.user), channel_name: names.channelName(event.channel) }
  return {
    place,
    signal: {
      ...signal,
      payload: { ...rest, ...Object.fromEntries(Object.entries(named).filter(([, name]) => name !== undefined)) },
    },
  }
}
