import { stat } from "node:fs/promises"
import { basename, join } from "node:path"
import { isFields } from "../../../signals/json.ts"
import { UsageError } from "../../terminal/errors.ts"
import { firstBytes, openBytes } from "../reading/bytes.ts"
import type { Source, SourceRecord } from "../reading/source.ts"
import { isFailure, readFailure } from "./failures.ts"

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
  const about = listsOf(path, files)
  refuseLarge(path, about)
  const names = await namesIn(about)
  const { messages, leftOut } = await sorted(path, files, about, names)
  refuseLarge(path, messages)
  const sizes = new Map<string, { before: number; bytes: number }>()
  let total = 0
  for (const { name, bytes } of messages) {
    sizes.set(name, { before: total, bytes })
    total += bytes
  }
  return {
    share(position) {
      const [name, end] = JSON.parse(position) as [string, number]
      const { before, bytes } = sizes.get(name) ?? { before: 0, bytes: 0 }
      return (before + Math.min(end, bytes)) / Math.max(1, total)
    },
    namesItsSignals: true,
    records: () => readHistory({ messages, leftOut, names }, options),
  }
}

/** The file in slackdump's archive folder, since version 3.1. */
const DATABASE = "slackdump.sqlite"

async function filesOfPath(path: string, options: SlackSourceOptions): Promise<HistoryFile[] | Source> {
  if (path === "-") return [{ name: path, bytes: 0, isPacked: false, open: () => openBytes(path) }]
  const start = firstBytes(path, 16)
  if (isSqlite(start)) return openSlackdumpDatabase(path, options)
  if (start.subarray(0, 2).toString("latin1") === "PK" || path.toLowerCase().endsWith(".zip"))
    return filesOfZip(path)
  const { size } = await stat(path)
  const file = { name: path, bytes: size, isPacked: false, open: () => openBytes(path) }
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
/** Folders of files that people uploaded. */
const UPLOADS = /(^|\/)(__uploads|__avatars)\//
/** Hidden files, and what macOS adds to a ZIP. */
const HIDDEN = /(^|\/)(__MACOSX|\.[^/]*)(\/|$)/
const JSON_FILE = /\.(json|jsonl|ndjson)(\.gz)?$/

const folderOf = (name: string) => name.split("/").slice(0, -1).join("/")
const isAbout = ({ name }: HistoryFile) => ABOUT.has(basename(name).replace(/\.gz$/, ""))

/**
 * Returns the files that name people and channels: those beside the folders of the channels. Users come
 * first: the name of a direct message consists of its members.
 */
function listsOf(path: string, files: readonly HistoryFile[]): HistoryFile[] {
  if (isSingle(path, files)) return []
  const lists = files.filter((file) => isAbout(file) && !HIDDEN.test(file.name) && !UPLOADS.test(file.name))
  const depth = Math.min(...lists.map(({ name }) => name.split("/").length))
  const about = lists.filter(({ name }) => name.split("/").length === depth)
  const isUsers = ({ name }: HistoryFile) => basename(name).startsWith("users.json")
  return [...about.filter(isUsers), ...about.filter((file) => !isUsers(file))]
}

const isSingle = (path: string, files: readonly HistoryFile[]) =>
  files.length === 1 && files[0]?.name === path

async function namesIn(about: readonly HistoryFile[]): Promise<SlackNames> {
  const names = new SlackNames()
  for (const file of about)
    for await (const value of valuesOf(file))
      if ("json" in value) learn(names, basename(file.name).split(".")[0], value.json)
  return names
}

/**
 * Finds the files with messages. A folder that a list names is a channel, whatever its name is.
 *
 * @returns also the JSON files that are left out
 * @throws {UsageError} no file has messages
 */
async function sorted(
  path: string,
  files: readonly HistoryFile[],
  about: readonly HistoryFile[],
  names: SlackNames,
): Promise<{ messages: HistoryFile[]; leftOut: string[] }> {
  if (isSingle(path, files)) return { messages: [...files], leftOut: [] }
  const lists = new Set(about)
  const roots = new Set(about.map(({ name }) => folderOf(name)))
  /** A dump of one conversation: the folder beside it holds attachments. */
  const dumps = new Set(files.filter((file) => !isAbout(file)).map(({ name }) => name))
  const isChannel = (folder: string) =>
    roots.has(folderOf(folder)) && names.listedId(basename(folder)) !== undefined
  const messages: HistoryFile[] = []
  const leftOut: string[] = []
  for (const file of files) {
    const { name } = file
    const folder = folderOf(name)
    if (lists.has(file) || HIDDEN.test(name) || UPLOADS.test(name)) continue
    const isLeftOut = !isChannel(folder) && (dumps.has(`${folder}.json`) || /(^|\/)attachments$/.test(folder))
    if (isLeftOut && JSON_FILE.test(name)) leftOut.push(name)
    else if (isLeftOut) continue
    else if (JSON_FILE.test(name)) messages.push(file)
    else if (/(^|\/)([^./]+|[^/]+\.(txt|log))(\.gz)?$/.test(name) && (await looksLikeJson(file)))
      messages.push(file)
  }
  if (messages.length > 0) return { messages, leftOut }
  throw new UsageError(
    `${path} has no messages. A Slack export has a folder of JSON files for each channel, slackdump's archive a file for each.`,
  )
}

interface History {
  messages: readonly HistoryFile[]
  /** Names of the JSON files that are not read. */
  leftOut: readonly string[]
  names: SlackNames
}

/** Reads files in the order of their names. A position is a file name, and the byte after a JSON value. */
async function* readHistory(
  { messages, leftOut, names }: History,
  options: SlackSourceOptions,
): ReturnType<Source["records"]> {
  for (const name of leftOut)
    yield { place: name, skipped: "file_without_messages", position: JSON.stringify(["", 0]) }
  for (const file of messages) {
    // Names in a file apply to that file alone, so that its records do not depend on the files before it.
    const own = new SlackNames(names)
    const folder = file.name.split("/").at(-2)
    const around = {
      ...options,
      names: own,
      channel: folder === undefined ? undefined : own.channelId(folder),
    }
    for await (const value of valuesOf(file)) {
      if ("json" in value) learn(own, undefined, value.json)
      const position = JSON.stringify([file.name, value.end])
      for (const record of "json" in value ? recordsOfLine(value.json, around, value.place) : [value])
        yield { ...record, position }
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
