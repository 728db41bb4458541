import { jsonInvalid, type ShapeError, Unreadable } from "./shape-errors.ts"

/**
 * Whether the text may hold a number that a double can't carry: one of sixteen digits or more (a double keeps fifteen), or with an
 * exponent of three. A number is never followed by a quotation mark, which passes over most digits within strings; a false alarm
 * costs time, never a digit. Neither expression can repeat from several places in one run of digits, so no text makes them slow.
 * The class is written out sixteen times because V8 then skips through the text by sixteen characters.
 */
const LONG_NUMBER = new RegExp(`${"[\\d.]".repeat(16)}(?:[\\s,\\]}eE]|$)`)
const LONG_EXPONENT = /[\d.][eE][+-]?\d\d\d+(?:[\s,\]}]|$)/

const mayLoseDigits = (text: string) => LONG_NUMBER.test(text) || LONG_EXPONENT.test(text)

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

const MAX_FAULTY_LINES = 100

/**
 * Reads NDJSON: one value a line, blank lines passed over. The faults of all lines are gathered, up to 100.
 *
 * @throws {Unreadable}
 * @see https://github.com/ndjson/ndjson-spec
 */
export function parseNdjson(text: string): unknown[] {
  const values: unknown[] = []
  const faults: ShapeError[] = []
  for (const [number, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue
    const read = readJson(line)
    values.push(read instanceof Error ? undefined : read.value)
    if (read instanceof Error)
      faults.push(jsonInvalid(`line ${number + 1}: ${read.message}`, ["body", "signals", values.length - 1]))
    if (faults.length === MAX_FAULTY_LINES) break
  }
  if (faults.length > 0) throw new Unreadable(faults)
  return values
}

function readJson(text: string): { value: unknown } | Error {
  try {
    return { value: mayLoseDigits(text) ? JSON.parse(text, keepDigits) : JSON.parse(text) }
  } catch (error) {
    // V8 walks the value recursively for a reviver.
    if (error instanceof RangeError) return new Error("it nests too deeply")
    return error as Error
  }
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
