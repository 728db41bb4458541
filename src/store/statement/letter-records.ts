import { MAX_SIGNAL_BYTES } from "../../signals/rules.ts"

/** What a dead letter keeps of a record at most, in UTF-8. A signal of the largest size fits, with the names of its columns around it. */
export const MAX_RECORD_BYTES = MAX_SIGNAL_BYTES + 4096

/**
 * What all dead letters of a delivery keep together, in characters of the statement that stores them. Each quotation mark and backslash
 * of a record takes four there: it is escaped in a Postgres array, and the array again in JSON.
 */
export const MAX_STATEMENT_CHARACTERS = 16 * 1024 * 1024

/** A dead letter as its maker has it. */
interface Unbounded<Record> {
  /** One sentence. */
  reason: string
  record: Record
}

/** A dead letter whose record is JSON text, whole or its beginning; the reason of one that is `truncated` says so. */
type Bounded<Letter> = Omit<Letter, "record" | "truncated"> & { record: string; truncated: boolean }

/** Bounds dead letters whose records are as they were delivered, each and all of a statement together. */
export const keepValues = <Letter extends Unbounded<unknown>>(letters: readonly Letter[]): Bounded<Letter>[] =>
  keepEach(letters, keepValue)

/** Bounds dead letters whose records are JSON text already. */
export const keepTexts = <Letter extends Unbounded<string>>(letters: readonly Letter[]): Bounded<Letter>[] =>
  keepEach(letters, keepText)

interface Kept {
  record: string
  truncated: boolean
  /** What to add to the reason; "" when the record is whole. */
  note: string
}

function keepEach<Value, Letter extends Unbounded<Value>>(
  letters: readonly Letter[],
  keep: (record: Value, left: number) => Kept,
): Bounded<Letter>[] {
  let left = MAX_STATEMENT_CHARACTERS
  return letters.map((letter) => {
    const { record, truncated, note } = keep(letter.record, left)
    left = Math.max(0, left - statementCharacters(record))
    // A note that is a sentence brings the full stop of the reason with it.
    const reason = note.startsWith(".") ? letter.reason.replace(/\.$/, "") : letter.reason
    return { ...letter, record, truncated, reason: reason + note }
  })
}

const whole = (record: string): Kept => ({ record, truncated: false, note: "" })

/** A backslash takes four characters of the statement, and no character more. */
const MOST_IN_STATEMENT = 4

/** Keeps a JSON text, or its beginning in whole characters. */
function keepText(json: string, left: number): Kept {
  const fits = statementCharacters(json) <= left
  const maxBytes = fits ? MAX_RECORD_BYTES : Math.min(MAX_RECORD_BYTES, Math.floor(left / MOST_IN_STATEMENT))
  const kept = charactersWithin(json, maxBytes)
  if (kept === json.length) return whole(json)
  const note = ". The record is larger than 1 MiB: only its beginning is kept, so that it cannot be replayed."
  return { record: json.slice(0, kept), truncated: true, note }
}

/** How many UTF-16 units of a text are whole characters within so many bytes. */
function charactersWithin(text: string, maxBytes: number): number {
  // A UTF-16 unit takes at most three bytes of UTF-8.
  if (text.length * 3 <= maxBytes) return text.length
  return new TextEncoder().encodeInto(text, new Uint8Array(maxBytes)).read
}

/** Keeps what was delivered. What is too large becomes a record that says so: a version that does not know `truncated` refuses it. */
function keepValue(value: unknown, left: number): Kept {
  // A long text is looked at first, since it may take six times as much as JSON.
  const long = longestText(value)
  const json = long ?? JSON.stringify(value ?? null)
  if (long === undefined && charactersWithin(json, MAX_RECORD_BYTES) === json.length && statementCharacters(json) <= left)
    return whole(json)
  return cutValue(json, left)
}

/** The longest of a record's own texts that are too long to be kept. */
function longestText(record: unknown): string | undefined {
  if (typeof record !== "object" || record === null) return undefined
  const texts = Object.values(record).filter(
    (value): value is string => typeof value === "string" && value.length > MAX_RECORD_BYTES,
  )
  return texts.sort((one, other) => other.length - one.length)[0]
}

/** A control character takes six characters as JSON and seven in the statement; a quotation mark two and eight. */
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
  for (let place = 0; place < json.length; place++) {
    const code = json.charCodeAt(place)
    if (code === QUOTE || code === BACKSLASH) escaped++
  }
  return json.length + 3 * escaped
}
