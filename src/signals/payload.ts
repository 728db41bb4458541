import type { Violation } from "./failures.ts"
import { MAX_PAYLOAD_DEPTH, textViolation } from "./rules.ts"
import type { Signal } from "./schema.ts"

/**
 * A payload ready to be stored: its JSON text, "" when the signal has none, and its length in Postgres'
 * format where that is longer: jsonb writes numbers without an exponent.
 */
export type EncodedPayload =
  | { text: string; printedCharacters?: number; violation?: undefined }
  | { text?: undefined; printedCharacters?: undefined; violation: Violation }

/**
 * Returns the JSON text of a signal's payload with every digit of its numbers, or the rule that it breaks.
 *
 * The text has no line break, since JSON escapes them (RFC 8259, section 7), so that payloads can be joined
 * by line breaks.
 */
export function encodePayload(payload: Signal["payload"]): EncodedPayload {
  if (payload == null) return { text: "" }
  // Depth is checked first: JSON.stringify overflows the stack on deep nesting.
  if (isDeeperThan(payload, MAX_PAYLOAD_DEPTH))
    return broken("too_deep", `must not nest deeper than ${MAX_PAYLOAD_DEPTH} levels`)
  const text = JSON.stringify(payload)
  // JSON always escapes U+0000 and lone surrogates, so only a text with such an escape has to be searched.
  const violation = /\\u(?:0000|d[89a-f])/.test(text) ? textViolationWithin(payload) : undefined
  if (violation) return broken("invalid_text", violation)
  if (!/\d[eE][+-]?\d/.test(text)) return { text }
  const unfolded = unfoldedWithin(payload)
  if (unfolded === undefined)
    return broken("number_too_long", `must not hold a number of more than ${MAX_NUMBER_CHARACTERS} digits`)
  return unfolded > 0 ? { text, printedCharacters: text.length + unfolded } : { text }
}

const broken = (code: Violation["code"], rule: string): EncodedPayload => ({
  violation: { field: "payload", code, message: `payload ${rule}` },
})

/** The most digits of a number that is written without its exponent. */
const MAX_NUMBER_CHARACTERS = 1000

/**
 * The characters by which the numbers in `value` grow without exponents; undefined when one becomes too long.
 */
function unfoldedWithin(value: unknown): number | undefined {
  if (typeof value === "number") return unfoldedBy(String(value))
  if (typeof value !== "object" || value === null) return 0
  if (JSON.isRawJSON(value)) return unfoldedBy((value as unknown as { rawJSON: string }).rawJSON)
  let sum = 0
  for (const item of Object.values(value)) {
    const more = unfoldedWithin(item)
    if (more === undefined) return undefined
    sum += more
  }
  return sum
}

/**
 * The characters by which a JSON number grows without its exponent; undefined when it becomes too long to be
 * stored.
 */
export function unfoldedBy(number: string): number | undefined {
  const [, whole = "", fraction = "", exponent] = /^-?(\d+)(?:\.(\d+))?[eE]([+-]?\d+)$/.exec(number) ?? []
  if (exponent === undefined) return 0
  const shift = Number(exponent)
  // A positive exponent adds zeros after the digits, a negative one before them.
  const length =
    shift > 0 ? whole.length + Math.max(shift, fraction.length) : 2 + whole.length + fraction.length - shift
  return length > MAX_NUMBER_CHARACTERS ? undefined : Math.max(0, length - number.length)
}

/** Whether a JSON value nests deeper than `levels`. It stops at that depth. */
export function isDeeperThan(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null || JSON.isRawJSON(value)) return false
  if (levels === 0) return true
  if (Array.isArray(value)) return value.some((item) => isDeeperThan(item, levels - 1))
  for (const key in value) if (isDeeperThan((value as Record<string, unknown>)[key], levels - 1)) return true
  return false
}

function textViolationWithin(value: unknown): string | undefined {
  if (typeof value === "string") return textViolation(value)
  if (typeof value !== "object" || value === null) return undefined
  for (const [key, item] of Object.entries(value)) {
    const violation = textViolation(key) ?? textViolationWithin(item)
    if (violation) return violation
  }
}

/**
 * Bound of nesting: the record is written as JSON again, which overflows the stack at a few thousand levels.
 */
const MAX_RECORD_DEPTH = 1000

/** A dead letter keeps the text of a record that nests too deeply. */
export const isTooDeep = (value: unknown) => isDeeperThan(value, MAX_RECORD_DEPTH)
export const TOO_DEEP = `the record nests deeper than ${MAX_RECORD_DEPTH} levels`
