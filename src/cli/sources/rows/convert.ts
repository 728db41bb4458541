import { SCORE_FIELDS } from "../../../scores/score.ts"
import { plainNumber } from "../../../signals/json.ts"
import { SIGNAL_FIELDS } from "../../../signals/schema.ts"
import { readJsonLine } from "../reading/json.ts"

/**
 * What a source makes of a cell: null or undefined for no value, a text, a number (`JSON.rawJSON` where a
 * double would lose a digit), a boolean, bytes, or a list or an object that JSON can hold.
 */
export type Cell = unknown

/** A cell that holds no value that a signal can have. It fails its row. */
export class BadCell {
  readonly reason: string

  constructor(reason: string) {
    this.reason = reason
  }
}

/** The reason why a row did not become a signal. */
export class RowError extends Error {}

/** A number with all its digits. @param digits as JSON writes a number */
export const exactNumber = (digits: string): unknown =>
  String(Number(digits)) === digits ? Number(digits) : JSON.rawJSON(digits)

type Kind = "text" | "number" | "notFinite" | "boolean" | "bytes" | "nested"
type Target = "text" | "number" | "flag" | "time" | "payload" | "column"

const same = (cell: never): unknown => cell
/** A double; a number beyond all doubles stays, so that the service refuses it. */
const doubleOf = (cell: unknown): unknown => {
  const double = plainNumber(cell)
  return Number.isFinite(double) ? double : cell
}
const digitsOf = (cell: unknown): string => (JSON.isRawJSON(cell) ? JSON.stringify(cell) : String(cell))
const base64Of = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64")
const noNumber = (cell: number): never => {
  throw new RowError(`${cell} is no number that JSON can hold`)
}

/**
 * The conversions of every source: the kind of a cell, and where it is stored. `column` is a column that is
 * no field of a signal, and so a value of the payload. What does not fit stays as it is, and the service
 * refuses it with its own words.
 */
const CONVERSIONS: Record<Target, Record<Kind, (cell: never) => unknown>> = {
  text: { text: same, number: digitsOf, notFinite: String, boolean: String, bytes: textOf, nested: same },
  number: {
    text: numberOfText,
    number: doubleOf,
    notFinite: noNumber,
    boolean: Number,
    bytes: (bytes) => numberOfText(textOf(bytes)),
    nested: same,
  },
  flag: {
    text: flagOfText,
    number: doubleOf,
    notFinite: noNumber,
    boolean: Number,
    bytes: (bytes) => flagOfText(textOf(bytes)),
    nested: same,
  },
  time: {
    text: timeOfText,
    number: doubleOf,
    notFinite: noNumber,
    boolean: same,
    bytes: (bytes) => timeOfText(textOf(bytes)),
    nested: same,
  },
  payload: {
    text: jsonOfText,
    number: same,
    notFinite: String,
    boolean: same,
    bytes: (bytes) => jsonOfText(textOf(bytes)),
    nested: same,
  },
  column: {
    text: same,
    number: same,
    notFinite: String,
    boolean: same,
    bytes: base64Of,
    nested: same,
  },
}

const TARGETS: Record<string, Target> = {
  timestamp: "time",
  signal_score: "number",
  emotional_tone: "number",
  escalate_flag: "flag",
  payload: "payload",
  scored_at: "time",
  signal_id: "number",
}

/** What a source has: signals, or scores of signals that are stored already. */
export type Imported = "signals" | "scores"

/** The fields of a record of each kind. */
export const FIELDS_OF: Record<Imported, ReadonlySet<string>> = {
  signals: SIGNAL_FIELDS,
  scores: SCORE_FIELDS,
}

/**
 * Converts a cell for a field of a signal or a score, or for the payload where `field` is none.
 *
 * @throws {RowError} the cell has no value for this field
 */
export function convert(field: string, cell: Cell, imported: Imported = "signals"): unknown {
  if (cell instanceof BadCell) throw new RowError(`${field}: ${cell.reason}`)
  const target = FIELDS_OF[imported].has(field) ? (TARGETS[field] ?? "text") : "column"
  try {
    return CONVERSIONS[target][kindOf(cell)](cell as never)
  } catch (error) {
    throw error instanceof RowError ? new RowError(`${field}: ${error.message}`) : error
  }
}

function kindOf(cell: Cell): Kind {
  if (typeof cell === "string") return "text"
  if (typeof cell === "number") return Number.isFinite(cell) ? "number" : "notFinite"
  if (typeof cell === "boolean") return "boolean"
  if (cell instanceof Uint8Array) return "bytes"
  return JSON.isRawJSON(cell) ? "number" : "nested"
}

/** Strict, so that no byte is replaced; a byte order mark is a character of the text. */
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** @throws {RowError} the bytes are not UTF-8 */
export function textOf(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch {
    throw new RowError("the bytes are not UTF-8 text")
  }
}

const DECIMAL = /^\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\s*$/

/** A number as people write one; not `0x1`, which `Number` reads as well. */
function numberOfText(text: string): number | string {
  return DECIMAL.test(text) && Number.isFinite(Number(text)) ? Number(text) : text
}

const FLAGS: Record<string, number> = { true: 1, t: 1, yes: 1, y: 1, false: 0, f: 0, no: 0, n: 0 }

function flagOfText(text: string): number | string {
  return FLAGS[text.trim().toLowerCase()] ?? numberOfText(text)
}

/** Digits are a Unix epoch; exactly eight of them are a date without hyphens, as the service reads them. */
function timeOfText(text: string): number | string {
  const trimmed = text.trim()
  return /^-?\d+(?:\.\d*)?$/.test(trimmed) && !/^\d{8}$/.test(trimmed) ? Number(trimmed) : trimmed
}

function jsonOfText(text: string): unknown {
  return (readJsonLine(text) ?? { json: text }).json
}

/** The cells of a row as the failures file keeps them. A bad cell is null. */
export const keptRow = (row: Record<string, Cell>): Record<string, unknown> => ({
  _row: Object.fromEntries(
    Object.entries(row).map(([name, cell]) => [
      name,
      cell instanceof BadCell || cell === undefined || cell === null ? null : elementOf(cell),
    ]),
  ),
})

/** An element of a list or of an object, as the payload keeps it. */
export const elementOf = (cell: Cell): unknown => CONVERSIONS.column[kindOf(cell)](cell as never)
