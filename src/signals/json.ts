import { Rejected } from "./failures/violation.ts"
import { jsonInvalid, MAX_ERRORS, moreErrors, type ShapeError, Unreadable } from "./shape-errors.ts"

/** A run of sixteen digits or more, at full length. Written out sixteen times, V8 skips through a text by sixteen characters. */
const LONG_NUMBER = new RegExp(`${"[\\d.]".repeat(16)}[\\d.]*(?:[eE][+-]?\\d+)?`, "g")
const LONG_EXPONENT = /[\d.][eE][+-]?\d\d\d+(?:[\s,\]}]|$)/

/** What may follow a number (RFC 8259, section 2), so not a quotation mark; the end of the text, as "", is part of any string. */
const AFTER_NUMBER = " \t\n\r,]}"

/**
 * Whether the text may hold a number that a double can't carry: one of more than the fifteen digits that any double keeps, unless it
 * is just what a double prints, as the scores of most models are; or one with an exponent of three digits.
 *
 * What looks so within a string costs time, never a digit. No match can be tried from several places in one run of digits, so that
 * no text makes this slow.
 */
function mayLoseDigits(text: string): boolean {
  if (LONG_EXPONENT.test(text)) return true
  LONG_NUMBER.lastIndex = 0
  for (let match = LONG_NUMBER.exec(text); match; match = LONG_NUMBER.exec(text)) {
    const [number] = match
    if (AFTER_NUMBER.includes(text.charAt(LONG_NUMBER.lastIndex)) && String(Number(number)) !== number) return true
  }
  return false
}

/**
 * Reads JSON without losing a digit: a number whose double would mean another value (beyond 2^53, too many digits, 1e400) comes back
 * as a raw JSON number, which `JSON.stringify` writes as it was.
 *
 * @throws {Unreadable}
 * @see https://tc39.es/proposal-json-parse-with-source/
 */
export function parseJson(text: string): unknown {
  const read = readJson(text)
  if (read instanceof Error) throw new Unreadable([jsonInvalid(read.message, ["body"])])
  return read.value
}

/**
 * Reads NDJSON: one value a line, blank lines passed over. The errors of all lines are gathered, up to 100; how many more there are
 * is not counted, since a bad line costs as much as many good ones.
 *
 * @param maxValues reading ends with the first value beyond, so that the caller can tell that there are too many
 * @param options.lenient a line that is not JSON becomes `Rejected` in its place
 * @throws {Unreadable} a line is not JSON
 * @see https://github.com/ndjson/ndjson-spec
 */
export function parseNdjson(text: string, maxValues: number, { lenient } = { lenient: false }): unknown[] {
  const values: unknown[] = []
  const errors: ShapeError[] = []
  for (const [number, line] of linesOf(text)) {
    if (line.trim() === "") continue
    const read = readJson(line)
    if (read instanceof Error) values.push(lenient ? rejectedLine(number, read) : undefined)
    else values.push(read.value)
    if (values.length > maxValues) return values
    if (lenient || !(read instanceof Error)) continue
    if (errors.length === MAX_ERRORS) {
      errors.push(moreErrors(["body"]))
      break
    }
    errors.push(jsonInvalid(`line ${number}: ${read.message}`, ["body", "signals", values.length - 1]))
  }
  if (errors.length > 0) throw new Unreadable(errors)
  return values
}

/** The sentence is stored: it leaves out what V8 quotes of the line, and Postgres takes neither U+0000 nor half of a surrogate pair. */
function rejectedLine(number: number, { message }: Error): Rejected {
  const reason = message
    .replace(/, (?:\.{3})?"[\s\S]*$/, "")
    .toWellFormed()
    .replaceAll("\0", "\uFFFD")
  return new Rejected({ code: "invalid_json", message: `Invalid JSON: line ${number}: ${reason}` })
}

/** Each line with its number, from 1; a body may have millions of them, of which few are wanted. */
function* linesOf(text: string): Generator<[number: number, line: string]> {
  let number = 1
  for (let start = 0; start <= text.length; number++) {
    const found = text.indexOf("\n", start)
    const end = found === -1 ? text.length : found
    yield [number, text.slice(start, end)]
    start = end + 1
  }
}

function readJson(text: string): { value: unknown } | Error {
  try {
    return { value: mayLoseDigits(text) ? JSON.parse(text, keepDigits) : JSON.parse(text) }
  } catch (error) {
    // V8 walks the value recursively for a reviver.
    if (error instanceof RangeError) return { value: parseDeep(text) }
    return error as Error
  }
}

/** A text, or a number; a text may hold what looks like one. */
const TEXT_OR_NUMBER = /"[^"\\]*(?:\\[\s\S][^"\\]*)*"|-?\d[\d.eE+-]*/g

/** Deeper than anything that is stored. */
const DIGITS_KEPT_TO_DEPTH = 100

/**
 * What `JSON.parse` gives for a text that nests too deeply for its reviver: long numbers are put into objects of their own name, and
 * taken out again where they can be stored. Slow, and never recursive beyond that.
 */
function parseDeep(text: string): unknown {
  let name = "number"
  while (text.includes(name)) name += "_"
  const marked = text.replace(TEXT_OR_NUMBER, (token) =>
    token.startsWith('"') || isSameNumber(token, Number(token)) ? token : `{"${name}":"${token}"}`,
  )
  return unmark(JSON.parse(marked), name, DIGITS_KEPT_TO_DEPTH)
}

function unmark(value: unknown, name: string, levels: number): unknown {
  if (typeof value !== "object" || value === null || levels === 0) return value
  const fields = value as Record<string, unknown>
  if (Object.hasOwn(fields, name)) return JSON.rawJSON(String(fields[name]))
  for (const key of Object.keys(fields))
    Object.defineProperty(fields, key, {
      value: unmark(fields[key], name, levels - 1),
      enumerable: true,
      configurable: true,
      writable: true,
    })
  return value
}

function keepDigits(_key: string, value: unknown, { source }: { source?: string }): unknown {
  return typeof value !== "number" || source === undefined || isSameNumber(source, value) ? value : JSON.rawJSON(source)
}

/** Longer than any spelling that `JSON.stringify` gives a double: kept as it is, whatever it means. */
const LONGEST_DOUBLE = 32

function isSameNumber(source: string, value: number): boolean {
  if (source.length > LONGEST_DOUBLE) return false
  return source === String(value) || normalForm(source) === normalForm(String(value))
}

/** One spelling for each decimal number: its digits without zeros at either end, and the power of ten of the last one. */
function normalForm(number: string): string {
  const [, sign, whole = "", fraction = "", exponent = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(number) ?? []
  const digits = (whole + fraction).replace(/^0+/, "")
  const significant = digits.replace(/0+$/, "")
  // Infinity has no digits; it must not pass for zero.
  if (significant === "") return whole === "" ? number : "0"
  return `${sign}${significant}e${BigInt(exponent) - BigInt(fraction.length) + BigInt(digits.length - significant.length)}`
}

/** A raw JSON number as the ordinary number nearest to it; any other value as it is. */
export function plainNumber(value: unknown): unknown {
  return JSON.isRawJSON(value) ? Number((value as { rawJSON: string }).rawJSON) : value
}

/** Whether a value is a JSON object. A raw JSON number is an object of the runtime, but a number of JSON. */
export const isFields = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value)
