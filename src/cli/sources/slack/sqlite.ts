import type { DatabaseSync } from "node:sqlite"
import { isFields } from "../../../signals/json.ts"
import { UsageError } from "../../usage.ts"
import { isTooDeep, readJsonLine, TOO_DEEP } from "../jsonl.ts"
import { keptBytes, keptLine } from "../kept.ts"
import { textOf } from "../lines.ts"
import type { Source, SourceRecord } from "../source.ts"
import { type Around, mapSlackMessage, type SlackSourceOptions } from "./messages.ts"
import { SlackNames } from "./names.ts"

export const isSqlite = (start: Uint8Array) =>
  Buffer.from(start.subarray(0, 15)).toString("latin1") === "SQLite format 3"

/** Selects the newest copy of each message: a resumed archive holds some messages twice. */
const MESSAGES = `
  select m.channel_id as channel_id, m.id as id, m.ts as ts, m.data as data
    from (select channel_id, id, max(chunk_id) as chunk_id from message group by channel_id, id) newest
    join message m on m.id = newest.id and m.chunk_id = newest.chunk_id and m.channel_id = newest.channel_id
   where (m.channel_id, m.id) > (?, ?)
   order by m.channel_id, m.id`

/**
 * Opens slackdump's database, read-only. A position is the channel of a message, its id, and the number of
 * messages read.
 *
 * @see https://github.com/rusq/slackdump/tree/master/internal/chunk/backend/dbase/repository/migrations
 */
export async function openSlackdumpDatabase(path: string, options: SlackSourceOptions): Promise<Source> {
  const wayOut = `Convert it: slackdump convert -f export ${path}, and import the ZIP.`
  const open = await opener(wayOut)
  let total = 0
  return {
    share: (position) => JSON.parse(position)[2] / Math.max(1, total),
    async *records(from) {
      let db: DatabaseSync | undefined
      try {
        db = open(path)
        total = Number(
          db.prepare("select count(*) as n from (select 1 from message group by channel_id, id)").get()?.n ??
            0,
        )
        yield* readDatabase(db, path, options, from)
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
  from = '["", 0, 0]',
): ReturnType<Source["records"]> {
  const names = namesOf(db)
  const [channelFrom, idFrom, before] = JSON.parse(from) as [string, number, number]
  let number = before
  for (const { channel_id, id, ts, data } of db.prepare(MESSAGES).iterate(channelFrom, idFrom)) {
    const position = JSON.stringify([channel_id, Number(id), ++number])
    yield {
      ...readMessage(data, `${path}: ${channel_id} ${ts}`, { ...options, channel: channel_id, names }),
      position,
    }
  }
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
