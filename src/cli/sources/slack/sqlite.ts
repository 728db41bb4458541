import type { DatabaseSync } from "node:sqlite"
import { isFields } from "../../../signals/json.ts"
import { UsageError } from "../../terminal/errors.ts"
import { isTooDeep, readJsonLine, TOO_DEEP } from "../reading/json.ts"
import { textOf } from "../reading/lines.ts"
import { keptBytes, keptLine, type Source, type SourceRecord } from "../reading/source.ts"
import { type Around, mapSlackMessage, type SlackSourceOptions } from "./messages.ts"
import { SlackNames } from "./names.ts"

export const isSqlite = (start: Uint8Array) =>
  Buffer.from(start.subarray(0, 15)).toString("latin1") === "SQLite format 3"

/** Selects every copy of each message: a resumed or merged archive holds some messages twice. */
const MESSAGES = `
  select channel_id as channel_id, id as id, ts as ts, data as data from message order by channel_id, id, chunk_id`

/**
 * Opens slackdump's database, read-only. A position is the number of messages read.
 *
 * @see https://github.com/rusq/slackdump/tree/master/internal/chunk/backend/dbase/repository/migrations
 */
export async function openSlackdumpDatabase(path: string, options: SlackSourceOptions): Promise<Source> {
  const wayOut = `Convert it: slackdump convert -f export ${path}, and import the ZIP.`
  const open = await opener(wayOut)
  let total = 0
  return {
    share: (position) => Number(position) / Math.max(1, total),
    namesItsSignals: true,
    async *records() {
      let db: DatabaseSync | undefined
      try {
        db = open(path)
        total = Number(
          db.prepare("select count(*) as n from (select 1 from message group by channel_id, id)").get()?.n ??
            0,
        )
        yield* readDatabase(db, path, options)
      } catch (error) {
        if (!(error as NodeJS.ErrnoException).code?.startsWith("ERR_SQLITE")) throw error
        throw new UsageError(
          `${path} cannot be read as slackdump's database: ${(error as Error).message}. ${wayOut}`,
        )
      } finally {
        db?.close()
      }
    },
  }
}

async function* readDatabase(
  db: DatabaseSync,
  path: string,
  options: SlackSourceOptions,
): ReturnType<Source["records"]> {
  const names = namesOf(db)
  let number = 0
  for (const { channel_id, place, data } of newestCopies(db)) {
    const record = readMessage(data, `${path}: ${place}`, { ...options, channel: channel_id, names })
    yield { ...record, position: String(++number) }
  }
}

/** Yields one copy of each message: that with the newest edit, and of equal ones that of the latest chunk. */
function* newestCopies(db: DatabaseSync): Generator<{ channel_id: unknown; place: string; data: unknown }> {
  let best: { channel_id: unknown; place: string; data: unknown } | undefined
  let name = ""
  let bestEdit = ""
  for (const { channel_id, id, ts, data } of db.prepare(MESSAGES).iterate()) {
    const copy = { channel_id, place: `${channel_id} ${ts}`, data }
    const edit = editOf(data)
    if (name !== `${channel_id}/${id}`) {
      if (best) yield best
      name = `${channel_id}/${id}`
    } else if (edit < bestEdit) continue
    best = copy
    bestEdit = edit
  }
  if (best) yield best
}

/** The time of a message's last edit, which sorts as text; empty where it has none, or is not JSON. */
function editOf(data: unknown): string {
  const text = textOfCell(data)
  // Few messages are edited, and to parse each twice takes as long as the rest of reading.
  if (!text?.includes('"edited"')) return ""
  const json = readJsonLine(text)?.json
  const edited = isFields(json) && isFields(json.edited) ? json.edited.ts : undefined
  return typeof edited === "string" ? edited.padStart(24, "0") : ""
}

function readMessage(data: unknown, place: string, around: Around): SourceRecord {
  const text = textOfCell(data)
  if (text === undefined)
    return {
      place,
      error: "The message is not UTF-8",
      kept: data instanceof Uint8Array ? keptBytes(data) : {},
    }
  const json = readJsonLine(text)?.json
  if (!isFields(json)) return { place, error: "The message is not a JSON object", kept: keptLine(text) }
  if (isTooDeep(json)) return { place, error: TOO_DEEP, kept: keptLine(text) }
  return mapSlackMessage(json, place, around)
}

/** Reads people, channels and the workspace; the newest copy of each comes last and wins. */
function namesOf(db: DatabaseSync): SlackNames {
  const names = new SlackNames()
  const jsonOf = (data: unknown) => readJsonLine(textOfCell(data) ?? "")?.json
  for (const { data } of db.prepare("select data as data from s_user order by chunk_id").iterate())
    names.addUsers([jsonOf(data)])
  for (const { data } of db.prepare("select data as data from channel order by chunk_id").iterate())
    names.addChannels([jsonOf(data)])
  for (const { team_id } of db
    .prepare("select team_id as team_id from workspace order by chunk_id desc limit 1")
    .iterate())
    names.addTeam(team_id)
  return names
}

function textOfCell(data: unknown): string | undefined {
  if (typeof data === "string") return data
  return data instanceof Uint8Array ? textOf(data) : undefined
}

async function opener(wayOut: string): Promise<(path: string) => DatabaseSync> {
  const { emitWarning } = process
  // Node warns that its SQLite is experimental, which does not help the person at the terminal.
  process.emitWarning = () => {}
  try {
    const { DatabaseSync } = await import("node:sqlite")
    return (path) => new DatabaseSync(path, { readOnly: true })
  } catch {
    throw new UsageError(
      `Reading slackdump's database needs Node 22.13 or newer; this is ${process.version}. ${wayOut}`,
    )
  } finally {
    process.emitWarning = emitWarning
  }
}
