/** What a dead letter keeps of a record at most, in characters of JSON. No larger record could become a signal. */
export const MAX_RECORD_CHARACTERS = 1024 * 1024

/**
 * What all dead letters of a delivery keep together, in characters of the statement that stores them. Each quotation mark and backslash
 * of a record takes four there: it is escaped in a Postgres array, and the array again in JSON.
 */
export const MAX_STATEMENT_CHARACTERS = 16 * 1024 * 1024

export interface KeptRecord {
  /** JSON text. */
  record: string
  /** What the dead letter's reason says of a record that is not kept whole; "" for any other. */
  note: string
}

/**
 * Makes the JSON text of each record that a dead letter keeps. A record that is too large is cut, and becomes one that says so:
 * replaying it never stores a part of it as a signal.
 */
export function keepRecords(records: readonly unknown[]): KeptRecord[] {
  let left = MAX_STATEMENT_CHARACTERS
  return records.map((record) => {
    const whole = wholeRecord(record)
    if (whole !== undefined) {
      const characters = statementCharacters(whole)
      if (characters <= left) {
        left -= characters
        return { record: whole, note: "" }
      }
    }
    const kept = cutRecord(whole ?? longestText(record) ?? JSON.stringify(record), left)
    left -= statementCharacters(kept.record)
    return kept
  })
}

/** Undefined when it is too long. A long text in it is looked at first, since it may take six times as much as JSON. */
function wholeRecord(record: unknown): string | undefined {
  if (longestText(record) !== undefined) return undefined
  const json = JSON.stringify(record ?? null)
  return json.length <= MAX_RECORD_CHARACTERS ? json : undefined
}

/** The longest of a record's own texts that are too long to be kept. */
function longestText(record: unknown): string | undefined {
  if (typeof record !== "object" || record === null) return undefined
  const texts = Object.values(record).filter(
    (value): value is string => typeof value === "string" && value.length > MAX_RECORD_CHARACTERS,
  )
  return texts.sort((one, other) => other.length - one.length)[0]
}

/** A control character takes six characters as JSON and seven in the statement; a quotation mark two and eight. */
const MOST_FOR_ONE = 8

function cutRecord(text: string, left: number): KeptRecord {
  const length = Math.max(0, Math.min(MAX_RECORD_CHARACTERS / MOST_FOR_ONE, Math.floor(left / MOST_FOR_ONE)))
  const note = `of ${text.length} characters, the first ${length} are kept`
  return {
    record: JSON.stringify({ value: text.slice(0, length).toWellFormed(), fault: `The record is too large: ${note}.` }),
    note,
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
