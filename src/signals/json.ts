import { Rejected } from "./failures.ts"
import { jsonInvalid, MAX_ERRORS, moreErrors, type ShapeError, Unreadable } from "./shape-errors.ts"

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false })

/**
 * Decodes UTF-8, without a byte order mark (RFC 8259, section 8.1).
 *
 * @throws {Unreadable} bytes are not UTF-8; none is replaced
 */
export function decodeUtf8(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes)
  } catch {
    const msg = "Input should be a valid string, unable to parse raw data as a unicode string"
    throw new Unreadable([{ type: "string_unicode", loc: ["body"], msg }])
  }
}

/**
 * A run of at least sixteen digits. Because the digits are written out, V8 can skip a text in steps of
 * sixteen characters.
 */
const LONG_NUMBER = new RegExp(`${"[\\d.]".repeat(16)}[\\d.]*(?:[eE][+-]?\\d+)?`, "g")
const LONG_EXPONENT = /[\d.][eE][+-]?\d\d\d+(?:[\s,\]}]|$)/

/**
 * The characters that can follow a number (RFC 8259, section 2). A quotation mark cannot; "" is the end of
 * the text.
 */
const AFTER_NUMBER = " \t\n\r,]}"

/**
 * Whether the text may contain a number that a double cannot hold: one with more than the fifteen digits that
 * every double keeps, unless it is exactly what a double prints, as the scores of most models are; or one
 * with an exponent of three digits.
 *
 * Such characters in a string only cost time. A match can only start at one index of a run of digits, so no
 * text makes this slow.
 */
function mayLoseDigits(text: string): boolean {
  if (LONG_EXPONENT.test(text)) return true
  LONG_NUMBER.lastIndex = 0
  for (let match = LONG_NUMBER.exec(text); match; match = LONG_NUMBER.exec(text)) {
    const [number] = match
    if (AFTER_NUMBER.includes(text.charAt(LONG_NUMBER.lastIndex)) && String(Number(number)) !== number)
      return true
  }
  return false
}

/**
 * Parses JSON without losing a digit: a number whose double would have another value (beyond 2^53, too many
 * digits, 1e400) becomes a raw JSON number, which `JSON.stringify` writes unchanged.
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
 * Parses NDJSON: one value on each line; blank lines are skipped. Collects up to 100 errors of lines. It does
 * not count further errors, since a bad line costs as much time as many good ones.
 *
 * @param maxValues reading stops one value beyond this, so that the caller can see that there are too many
 * @param options.lenient a line that is not JSON becomes `Rejected` instead
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

/**
 * The sentence is stored, so it leaves out V8's quote of the line: Postgres accepts neither U+0000 nor half
 * of a surrogate pair.
 */
function rejectedLine(number: number, { message }: Error): Rejected {
  const reason = message
    .replace(/, (?:\.{3})?"[\s\S]*$/, "")
    .toWellFormed()
    .replaceAll("\0", "\uFFFD")
  return new Rejected({ code: "invalid_json", message: `Invalid JSON: line ${number}: ${reason}` })
}

/**
 * Yields each line with its number, from 1. A generator, because a body can have millions of lines and the
 * caller takes few.
 */
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
  if (left) left.containers -= countOutsideTexts(text, left.containers)
  try {
    return { value: mayLoseDigits(text) ? parseExactly(text) : JSON.parse(text) }
  } catch (error) {
    if (error instanceof TooManyContainers) throw error
    return error as Error
  }
}

/** What may still be built from the body that `readBody` reads. */
let left: { containers: number; rawNumbers: number } | undefined

/**
 * Reads a body of which more than one text is parsed, such as lines, or records in base64: all that is built
 * from it counts together. `read` is synchronous, so that no other body counts with it.
 *
 * @throws {TooManyContainers}
 */
export function readBody<T>(read: () => T): T {
  left = { containers: MAX_CONTAINERS, rawNumbers: MAX_RAW_NUMBERS }
  try {
    return read()
  } finally {
    left = undefined
  }
}

/**
 * Parses JSON with raw JSON numbers where a double would have another value.
 *
 * Each such number is replaced by a string with a random mark, and becomes a number again after parsing. A
 * reviver that reads the source of every value takes four times as long, and overflows the stack on deep
 * nesting.
 */
function parseExactly(text: string): unknown {
  // Parses the text first: numbers can be found by their characters only in valid JSON, and an error must
  // name a position in `text`.
  JSON.parse(text)
  const counts = left ?? { rawNumbers: MAX_RAW_NUMBERS }
  const mark = crypto.randomUUID().slice(0, 13)
  const marked = markLongNumbers(text, mark, counts)
  return marked === undefined ? JSON.parse(text) : unmark(JSON.parse(marked), mark)
}

/**
 * Finds the end of each number that a double cannot hold exactly. A match can only start at one index of a
 * run of digits, so the time is linear.
 */
const LONG_PART = /(?:[\d.]{16}|[\d.][eE][+-]?\d{3})[\d.eE+-]*/g

/**
 * @param counts how many numbers may still be marked
 * @returns undefined when a double can hold every number
 * @throws {TooManyContainers}
 */
function markLongNumbers(text: string, mark: string, counts: { rawNumbers: number }): string | undefined {
  let marked = ""
  let copied = 0
  let quote = text.indexOf('"')
  let stringEnd = 0
  LONG_PART.lastIndex = 0
  while (LONG_PART.test(text)) {
    const end = LONG_PART.lastIndex
    let start = end
    while (isOfNumber(text.charCodeAt(start - 1))) start--
    while (quote !== -1 && quote < start) {
      stringEnd = endOfString(text, quote)
      quote = text.indexOf('"', stringEnd)
    }
    if (start < stringEnd) {
      LONG_PART.lastIndex = stringEnd
      continue
    }
    const number = text.slice(start, end)
    if (isSameNumber(number, Number(number))) continue
    if (--counts.rawNumbers < 0) throw new TooManyContainers()
    marked += `${text.slice(copied, start)}"${mark}${number}"`
    copied = end
  }
  return copied === 0 ? undefined : marked + text.slice(copied)
}

const BACKSLASH = 0x5c

/** @returns the index after its closing quotation mark */
function endOfString(text: string, opening: number): number {
  for (let quote = text.indexOf('"', opening + 1); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let first = quote
    while (text.charCodeAt(first - 1) === BACKSLASH) first--
    if ((quote - first) % 2 === 0) return quote + 1
  }
  return text.length
}

/** `0` to `9`, `.`, `e`, `E`, `+`, `-`. */
const isOfNumber = (code: number) =>
  (code >= 0x30 && code <= 0x39) ||
  code === 0x2e ||
  code === 0x65 ||
  code === 0x45 ||
  code === 0x2b ||
  code === 0x2d

/**
 * Turns each marked string into its raw JSON number. It is not recursive, because a text can nest as deep as
 * it is long.
 */
function unmark(value: unknown, mark: string): unknown {
  const root = [value]
  const containers: (unknown[] | Record<string, unknown>)[] = [root]
  const read = (item: unknown): unknown => {
    if (typeof item === "object" && item !== null)
      containers.push(item as unknown[] | Record<string, unknown>)
    return typeof item === "string" && item.startsWith(mark) ? JSON.rawJSON(item.slice(mark.length)) : item
  }
  for (let container = containers.pop(); container; container = containers.pop()) {
    if (Array.isArray(container))
      for (let index = 0; index < container.length; index++) container[index] = read(container[index])
    else for (const name of Object.keys(container)) container[name] = read(container[name])
  }
  return root[0]
}

/** Longer than any double that `JSON.stringify` writes: such a number always stays raw. */
const LONGEST_DOUBLE = 32

function isSameNumber(source: string, value: number): boolean {
  if (source.length > LONGEST_DOUBLE || !Number.isFinite(value)) return false
  const printed = String(value)
  if (source === printed) return true
  if (value === 0) return !/^-?[\d.]*[1-9]/.test(source)
  // Without an exponent, two spellings of one number differ only in zeros at the end of the fraction.
  if (!/e/i.test(source) && !printed.includes("e")) return source.replace(/(\.\d*?)0+$/, "$1") === printed
  return normalForm(source) === normalForm(printed)
}

/**
 * A unique spelling of a decimal number other than zero: its digits without zeros at both ends, and the power
 * of ten of the last digit.
 */
function normalForm(number: string): string {
  const [, sign, whole = "", fraction = "", exponent = "0"] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(number) ?? []
  const digits = (whole + fraction).replace(/^0+/, "")
  const significant = digits.replace(/(?<!0)0+$/, "")
  return `${sign}${significant}e${Number(exponent) - fraction.length + digits.length - significant.length}`
}

/** Converts a raw JSON number to the nearest double; returns any other value unchanged. */
export function plainNumber(value: unknown): unknown {
  return JSON.isRawJSON(value) ? Number((value as { rawJSON: string }).rawJSON) : value
}

/** Whether a value is a JSON object. A raw JSON number is an object in the runtime, but a number in JSON. */
export const isFields = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value)

/**
 * The most objects and arrays of one body. Each needs memory besides its text: `[[],[],...]` needs ten times
 * its size.
 */
export const MAX_CONTAINERS = 500_000

/**
 * The most numbers of one body that a double cannot hold. Each becomes an object in memory: `[1e999,...]`
 * needs thirty times its size.
 */
export const MAX_RAW_NUMBERS = 100_000

/** A body has more objects and arrays than `MAX_CONTAINERS`, or more numbers than `MAX_RAW_NUMBERS`. */
export class TooManyContainers extends Error {}

/**
 * Counts the objects and arrays of a JSON or NDJSON body before anything is built from it.
 *
 * It reads four bytes at a time and counts every opening bracket. Only a body with too many brackets is read
 * again, without those in strings, which takes four times as long.
 *
 * @returns an upper bound of the count
 * @throws {TooManyContainers}
 */
export function countContainers(bytes: Uint8Array): number {
  const atMost = countOpenings(bytes)
  if (atMost <= MAX_CONTAINERS) return atMost
  return countOutsideTexts(bytes, MAX_CONTAINERS)
}

/** The only bit in which `[` and `{` differ. */
const BRACKET_BIT = 0x20202020
const BRACE = 0x7b7b7b7b

/** @see https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord */
function countOpenings(bytes: Uint8Array): number {
  // Whole 32-bit words of the buffer; the bytes before and after them are read one by one.
  const start = (4 - (bytes.byteOffset % 4)) % 4
  const wordCount = Math.max(0, (bytes.length - start) >> 2)
  const words =
    wordCount > 0 ? new Uint32Array(bytes.buffer, bytes.byteOffset + start, wordCount) : new Uint32Array()
  let count = 0
  for (let index = 0; index < words.length; index++) {
    const rest = ((words[index] ?? 0) | BRACKET_BIT) ^ BRACE
    const found = (rest - 0x01010101) & ~rest & 0x80808080
    if (found !== 0) count += Math.imul((found >>> 7) & 0x01010101, 0x01010101) >>> 24
  }
  const head = wordCount > 0 ? start : bytes.length
  for (let index = 0; index < head; index++) if (isOpening(bytes[index])) count++
  for (let index = head + wordCount * 4; index < bytes.length; index++) if (isOpening(bytes[index])) count++
  return count
}

const isOpening = (byte: number | undefined) => byte === 0x5b || byte === 0x7b
const QUOTE = 0x22

/**
 * Counts up to `most`. The count of a body that is not JSON can be wrong, but that body is refused anyway.
 *
 * @throws {TooManyContainers}
 */
function countOutsideTexts(body: Uint8Array | string, most: number): number {
  const codeAt =
    typeof body === "string" ? (index: number) => body.charCodeAt(index) : (index: number) => body[index]
  let count = 0
  let isInText = false
  for (let index = 0; index < body.length; index++) {
    const code = codeAt(index)
    if (code === QUOTE) isInText = !isInText
    else if (isInText) {
      if (code === BACKSLASH) index++
    } else if (isOpening(code) && ++count > most) throw new TooManyContainers()
  }
  return count
}
