import { stat } from "node:fs/promises"
import { basename, join } from "node:path"
import { isFields } from "../../../signals/json.ts"
import { UsageError } from "../../usage.ts"
import { firstBytes, openBytes } from "../bytes.ts"
import { isFailure, readFailure } from "../failure.ts"
import type { Source, SourceRecord } from "../source.ts"
import { filesOfZip, type HistoryFile, refuseLarge } from "./files.ts"
import { recordsOf, type SlackSourceOptions } from "./messages.ts"
import { SlackNames } from "./names.ts"
import { isSqlite, openSlackdumpDatabase } from "./sqlite.ts"
import { valuesOf } from "./values.ts"

/**
 * Opens a Slack history: an export (ZIP or folder); slackdump's dump, recording, archive folder or database;
 * one message or event on each line; or the failures file of such an import. The content decides, not the
 * name.
 *
 * @param options.folder the files, where the path is a folder
 */
export async function openSlackHistory(
  path: string,
  { folder, ...options }: SlackSourceOptions & { folder: HistoryFile[] | undefined },
): Promise<Source> {
  if (folder?.some(({ name }) => name === DATABASE))
    return openSlackdumpDatabase(join(path, DATABASE), options)
  const files = folder ?? (await filesOfPath(path, options))
  if (!Array.isArray(files)) return files
  const { about, messages } = await sorted(path, files)
  refuseLarge(path, [...about, ...messages])
  const sizes = new Map<string, { before: number; bytes: number }>()
  let total = 0
  for (const { name, bytes } of messages) {
    sizes.set(name, { before: total, bytes })
    total += bytes
  }
  return {
    share(position) {
      const [name, end] = JSON.parse(position) as [string, number, number]
      const { before, bytes } = sizes.get(name) ?? { before: 0, bytes: 0 }
      return (before + Math.min(end, bytes)) / Math.max(1, total)
    },
    records: (from) => readHistory(about, messages, options, from),
  }
}

/** The file in slackdump's archive folder, since version 3.1. */
const DATABASE = "slackdump.sqlite"

async function filesOfPath(path: string, options: SlackSourceOptions): Promise<HistoryFile[] | Source> {
  if (path === "-")
    return [{ name: path, bytes: 0, changedMs: 0, isPacked: false, open: () => openBytes(path) }]
  const start = firstBytes(path, 16)
  if (isSqlite(start)) return openSlackdumpDatabase(path, options)
  if (start.subarray(0, 2).toString("latin1") === "PK" || path.toLowerCase().endsWith(".zip"))
    return filesOfZip(path)
  const { size, mtimeMs } = await stat(path)
  const file = { name: path, bytes: size, changedMs: mtimeMs, isPacked: false, open: () => openBytes(path) }
  if (!(await looksLikeJson(file)))
    throw new UsageError(
      `${path} is not a Slack history. Give an export's ZIP or folder, slackdump's output, or JSON with one message on each line.`,
    )
  return [file]
}

async function looksLikeJson(file: HistoryFile): Promise<boolean> {
  for await (const chunk of file.open()) return /^\uFEFF?\s*[[{]/.test(chunk.toString("utf8", 0, 1024))
  return false
}

/** Files of a history that hold no messages. */
const ABOUT = new Set(
  [
    "users",
    "channels",
    "groups",
    "mpims",
    "dms",
    "integration_logs",
    "canvases",
    "file_conversations",
    "lists",
  ]
    .concat(["huddle_transcripts", "org_users", "workspace"])
    .map((name) => `${name}.json`),
)
/** Folders of attachments, hidden files, and what macOS adds to a ZIP. */
const NOT_MESSAGES = /(^|\/)(__uploads|__avatars|__MACOSX|attachments|\.[^/]*)(\/|$)/

/**
 * Separates the files that name people and channels from those with messages. Throws `UsageError` when no
 * file has messages.
 */
async function sorted(
  path: string,
  files: HistoryFile[],
): Promise<{ about: HistoryFile[]; messages: HistoryFile[] }> {
  const [only] = files
  if (files.length === 1 && only?.name === path) return { about: [], messages: files }
  const names = new Set(files.map(({ name }) => name))
  const about: HistoryFile[] = []
  const messages: HistoryFile[] = []
  for (const file of files) {
    const folder = file.name.split("/").slice(0, -1).join("/")
    // The folder beside slackdump's dump of a channel holds attachments.
    if (NOT_MESSAGES.test(file.name) || names.has(`${folder}.json`)) continue
    const kind = basename(file.name).replace(/\.gz$/, "")
    // Users come first: the name of a direct message consists of its members.
    if (ABOUT.has(kind)) kind === "users.json" ? about.unshift(file) : about.push(file)
    else if (/\.(json|jsonl|ndjson)(\.gz)?$/.test(file.name)) messages.push(file)
    else if (/(^|\/)([^./]+|[^/]+\.(txt|log))(\.gz)?$/.test(file.name) && (await looksLikeJson(file)))
      messages.push(file)
  }
  if (messages.length > 0) return { about, messages }
  throw new UsageError(
    `${path} has no messages. A Slack export has a folder of JSON files for each channel, slackdump's archive a file for each.`,
  )
}

/**
 * Reads files in the order of their names. A position is a file name, the byte after a JSON value, and the
 * records read of that value.
 */
async function* readHistory(
  about: HistoryFile[],
  messages: HistoryFile[],
  options: SlackSourceOptions,
  from = '["", 0, 0]',
): ReturnType<Source["records"]> {
  const names = new SlackNames()
  for (const file of about)
    for await (const value of valuesOf(file))
      if ("json" in value) learn(names, basename(file.name).split(".")[0], value.json)
  const [nameFrom, endFrom, doneFrom] = JSON.parse(from) as [string, number, number]
  for (const file of messages) {
    if (file.name < nameFrom) continue
    // Names in a file apply to that file alone, so that its records do not depend on the file where reading
    // starts.
    const own = new SlackNames(names)
    const folder = file.name.split("/").at(-2)
    const around = {
      ...options,
      names: own,
      channel: folder === undefined ? undefined : own.channelId(folder),
    }
    for await (const value of valuesOf(file)) {
      if ("json" in value) learn(own, undefined, value.json)
      const isBefore = file.name === nameFrom && value.end < endFrom
      if (isBefore) continue
      const doneBefore = file.name === nameFrom && value.end === endFrom ? doneFrom : 0
      let done = 0
      for (const record of "json" in value ? recordsOfLine(value.json, around, value.place) : [value])
        if (++done > doneBefore) yield { ...record, position: JSON.stringify([file.name, value.end, done]) }
    }
  }
}

interface LineAround extends SlackSourceOptions {
  names: SlackNames
  channel: unknown
}

function recordsOfLine(json: unknown, around: LineAround, place: string): Iterable<SourceRecord> {
  if (!isFailure(json)) return recordsOf(json, around, place)
  const readLine = (): SourceRecord => ({ place, error: String(json._error), kept: { _line: json._line } })
  return [readFailure(json, place, { ...around, readLine })]
}

/**
 * Adds the names in a value: `list` is the kind of an export's list; a chunk of slackdump has its own fields.
 */
function learn(names: SlackNames, list: string | undefined, json: unknown): void {
  if (list === "users" || list === "org_users") names.addUsers(json)
  else if (list !== undefined) names.addChannels(json)
  if (!isFields(json) || typeof json.t !== "number") return
  names.addUsers(json.u)
  names.addChannels(json.ci === undefined ? json.ch : [json.ci])
  if (isFields(json.w)) names.addTeam(json.w.team_id)
}
