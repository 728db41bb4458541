import { MAX_SIGNAL_BYTES } from "../../signals/rules.ts"

/** The most UTF-8 bytes of a dead letter's record. The largest signal fits, with the names of its columns. */
export const MAX_RECORD_BYTES = MAX_SIGNAL_BYTES + 4096

/**
 * The most characters of all records of a delivery in the statement that stores them. Each quotation mark and
 * backslash takes four characters there: it is escaped in a Postgres array, and the array again in JSON.
 */
export const MAX_STATEMENT_CHARACTERS = 10 * 1024 * 1024

/** A dead letter before its record is bounded. */
interface Unbounded<Record> {
  /** One sentence. */
  reason: string
  record: Record
}

/**
 * A dead letter whose record is JSON text, complete or truncated. The reason of a `truncated` one says so.
 */
type Bounded<Entry> = Omit<Entry, "record" | "truncated"> & { record: string; truncated: boolean }

/**
 * Bounds dead letters with records as they were delivered, each by itself and all of a statement together.
 */
export const keepValues = <Entry extends Unbounded<unknown>>(
  deadLetters: readonly Entry[],
): Bounded<Entry>[] => keepEach(deadLetters, keepValue)

/** Bounds dead letters with records that are already JSON text. */
export const keepTexts = <Entry extends Unbounded<string>>(deadLetters: readonly Entry[]): Bounded<Entry>[] =>
  keepEach(deadLetters, keepText)

interface Kept {
  record: string
  truncated: boolean
  /** The addition to the reason; "" when the record is complete. */
  note: string
}

function keepEach<Value, Entry extends Unbounded<Value>>(
  deadLetters: readonly Entry[],
  keep: (record: Value, left: number) => Kept,
): Bounded<Entry>[] {
  let left = MAX_STATEMENT_CHARACTERS
  return deadLetters.map((deadLetter) => {
    const { record, truncated, note } = keep(deadLetter.record, left)
    left = Math.max(0, left - statementCharacters(record))
    // A note that is a sentence begins with the full stop of the reason.
    const reason = note.startsWith(".") ? deadLetter.reason.replace(/\.$/, "") : deadLetter.reason
    return { ...deadLetter, record, truncated, reason: reason + note }
  })
}

const whole = (record: string): Kept => ({ record, truncated: false, note: "" })

/** A backslash takes four characters of the statement. No character takes more. */
const MOST_IN_STATEMENT = 4

/** Keeps a JSON text, or its beginning without a split character. */
function keepText(json: string, left: number): Kept {
  const fits = statementCharacters(json) <= left
  const maxBytes = fits ? MAX_RECORD_BYTES : Math.min(MAX_RECORD_BYTES, Math.floor(left / MOST_IN_STATEMENT))
  const kept = charactersWithin(json, maxBytes)
  if (kept === json.length) return whole(json)
  const note = ". The record is larger than 1 MiB: only its beginning is kept, so that it cannot be replayed."
  return { record: json.slice(0, kept), truncated: true, note }
}

/** The number of UTF-16 units of a text that are whole characters within a number of bytes. */
function charactersWithin(text: string, maxBytes: number): number {
  // A UTF-16 unit has at most three bytes in UTF-8.
  if (text.length * 3 <= maxBytes) return text.length
  return new TextEncoder().encodeInto(text, new Uint8Array(maxBytes)).read
}

/**
 * Keeps the delivered record. A record that is too large is replaced by one that says so, which a version
 * without `truncated` refuses.
 */
function keepValue(value: unknown, left: number): Kept {
  // A long text is checked first, since its JSON can be six times as long.
  const long = longestText(value)
  const json = long ?? JSON.stringify(value ?? null)
  if (
    long === undefined &&
    charactersWithin(json, MAX_RECORD_BYTES) === json.length &&
    statementCharacters(json) <= left
  )
    return whole(json)
  return cutValue(json, left)
}

/** The longest text of a record that is too long to be kept. */
function longestText(record: unknown): string | undefined {
  if (typeof record !== "object" || record === null) return undefined
  const texts = Object.values(record).filter(
    (value): value is string => typeof value === "string" && value.length > MAX_RECORD_BYTES,
  )
  return texts.sort((a, b) => b.length - a.length)[0]
}

/**
 * A control character takes six characters in JSON and seven in the statement; a quotation mark two and
 * eight.
 */
const MOST_FOR_ONE = 8

function cutValue(text: string, left: number): Kept {
  const length = Math.floor(Math.min(MAX_SIGNAL_BYTES, left) / MOST_FOR_ONE)
  const cut = `of ${text.length} characters, the first ${length} are kept`
  const value = text.slice(0, length).toWellFormed()
  return {
    record: JSON.stringify({ value, fault: `The record is too large: ${cut}.` }),
    truncated: true,
    note: ` (${cut})`,
  }
}

const QUOTE = 0x22
const BACKSLASH = 0x5c

function statementCharacters(json: string): number {
  let escaped = 0
  for (let index = 0; index < json.length; index++) {
    const code = json.charCodeAt(index)
    if (code === QUOTE || code === BACKSLASH) escaped++
  }
  return json.length + 3 * escaped
}
