import { once } from "node:events"
import { createWriteStream } from "node:fs"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { createGzip } from "node:zlib"
import type { NewSignal } from "../../../src/client/index.ts"
import { parseJson } from "../../../src/signals/json.ts"

/** A message as the importer sends it. Its payload is JSON text, since a double would lose its digits. */
interface Message {
  fields: Record<string, string | number | undefined>
  payload: string | undefined
}

const TEXTS = [
  "plain words",
  'quotes "inside", and a comma',
  "two\nlines\r\nand a tab\t",
  "Grüße, Ærø, Łódź",
  "Привет, как дела?",
  "日本語と中文 — 混ざった文",
  "שלום עולם مرحبا",
  "👩‍👩‍👧‍👦 and \u2028 a line separator",
]
const CONVERSATIONS = 450
const REFUSED_EVERY = 9973

/**
 * The message of an index, the same in every run. Most have no dedupe_key, so that only the idempotency keys
 * of their batches keep them from being stored twice.
 */
function messageOf(index: number, score: number): Message {
  const micros = String((index * 7919) % 1_000_000).padStart(6, "0")
  const second = new Date(1_700_000_000_000 + index * 1000).toISOString().slice(0, 19)
  return {
    fields: {
      context_window_id: `conv-${index % CONVERSATIONS}`,
      timestamp: `${second}.${micros}${index % 3 === 0 ? "+05:30" : "Z"}`,
      raw_content: `${index} ${TEXTS[index % TEXTS.length]}`,
      signal_source: index % 4 === 0 ? undefined : `source-${index % 5}`,
      signal_score: score,
      emotional_tone: index % 2 === 0 ? undefined : (index % 1001) / 1000,
      user_id: index % 7 === 0 ? undefined : `user-${index % 1000}`,
      dedupe_key: index % 5 === 0 ? `message-${index}` : undefined,
    },
    payload: index % 3 === 1 ? undefined : payloadOf(index),
  }
}

/** A whole number of 20 digits, and a fraction of 19. */
function payloadOf(index: number): string {
  const number = `1234567890${String(index).padStart(10, "0")}`
  const share = `0.${String(index + 1).padStart(19, "3")}`
  return `{"number":${number},"share":${share},"list":[${index},null,"x"]}`
}

const scoreOf = (index: number) => ((index * 31) % 1001) / 1000

/**
 * As a source has it: the service refuses the score of one of about 10,000, unless a person has mended it.
 *
 * @param mendedFrom the index from which on the source is mended
 */
const sourceOf = (index: number, mendedFrom: number) =>
  messageOf(index, index % REFUSED_EVERY === 0 && index < mendedFrom ? 2 : scoreOf(index))

/** How many messages from 0 to `end` - 1 the service refuses until their score is corrected. */
export const refusedBefore = (end: number) => Math.ceil(end / REFUSED_EVERY)

/** The correction of a refused message. @param text the line of the failures file */
export function corrected(text: string): string {
  const index = Number.parseInt(/"raw_content":"(\d+)/.exec(text)?.[1] ?? "", 10)
  return text.replace('"signal_score":2', `"signal_score":${scoreOf(index)}`)
}

/** The message of an index as a program sends it, each number of its payload with all its digits. */
export function signalOf(index: number): NewSignal {
  const { fields, payload } = messageOf(index, scoreOf(index))
  return { ...fields, ...(payload !== undefined && { payload: parseJson(payload) }) } as NewSignal
}

const jsonOf = ({ fields, payload }: Message) => {
  const text = JSON.stringify(fields)
  return payload === undefined ? text : `${text.slice(0, -1)},"payload":${payload}}`
}

const COLUMNS = ["context_window_id", "timestamp", "raw_content", "signal_source", "signal_score"]
const CSV_COLUMNS = [...COLUMNS, "emotional_tone", "user_id", "dedupe_key", "payload"]
const cellOf = (value: unknown) =>
  value === undefined
    ? ""
    : /[",\r\n]/.test(String(value))
      ? `"${String(value).replaceAll('"', '""')}"`
      : value

/** The messages `from` to `end` - 1 as lines, some thousand at a time. */
function* chunks(from: number, end: number, line: (index: number) => string): Generator<string> {
  const SIZE = 2000
  for (let start = from; start < end; start += SIZE) {
    let text = ""
    for (let index = start; index < Math.min(end, start + SIZE); index++) text += line(index)
    yield text
  }
}

/** A part of the messages, as a source has it. */
export interface Part {
  from: number
  end: number
  /** Default: nothing is mended. */
  mendedFrom?: number
}

export async function writeJsonLines(path: string, { from, end, mendedFrom = end }: Part): Promise<void> {
  const lines = Readable.from(chunks(from, end, (index) => `${jsonOf(sourceOf(index, mendedFrom))}\n`))
  await pipeline(lines, createGzip({ level: 1 }), createWriteStream(path))
}

export async function writeCsv(path: string, { from, end, mendedFrom = end }: Part): Promise<void> {
  const row = (index: number) => {
    const { fields, payload } = sourceOf(index, mendedFrom)
    return `${CSV_COLUMNS.map((name) => cellOf({ ...fields, payload }[name])).join(",")}\r\n`
  }
  const file = createWriteStream(path)
  file.write(`${CSV_COLUMNS.join(",")}\r\n`)
  await pipeline(Readable.from(chunks(from, end, row)), file)
  if (!file.closed) await once(file, "close")
}

/** What the service should have of all messages, as lines of COPY of one column of JSON. */
export const expectedLines = (end: number): Generator<string> =>
  chunks(0, end, (index) => `${jsonOf(messageOf(index, scoreOf(index))).replaceAll("\\", "\\\\")}\n`)
