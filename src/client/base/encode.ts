import { InvalidSignalError } from "../api/errors.ts"
import type { FailureCode, NewSignal } from "../api/types.ts"

/** Deeper than any payload that the service takes, and far from the end of the stack. */
const MAX_DEPTH = 100

/**
 * `JSON.rawJSON` marks a text that is JSON already, where the runtime has it:
 * https://tc39.es/proposal-json-parse-with-source/
 */
const { isRawJSON = () => false } = JSON as { isRawJSON?: (value: unknown) => boolean }

/** The way from the outermost value to the one that is written. */
type Path = (string | number)[]

/**
 * Writes a value as JSON. A bigint becomes a number with all its digits; a property that is undefined is left
 * out.
 *
 * @param name the value in messages, such as `signals[3]`; empty for a signal itself
 * @throws {InvalidSignalError} a value inside is none that JSON can hold: NaN, an infinity, an invalid Date,
 *   a cycle, half of a surrogate pair, a function, a symbol, an undefined element, a Map or the like. The
 *   message names the field; nothing was sent
 */
export function encodeJson(value: unknown, name = ""): string {
  if (isPlain(value, 0)) {
    const text = JSON.stringify(value)
    // Half of a surrogate pair is written as an escape.
    if (!text.includes("\\ud")) return text
  }
  return new Encoder(name).write(value)
}

/**
 * Whether `JSON.stringify` writes a value without changing it. It is three times as fast as the encoder
 * below, which decides about the rest.
 */
function isPlain(value: unknown, depth: number): boolean {
  if (typeof value === "string" || typeof value === "boolean" || value === null) return true
  if (typeof value === "number") return Number.isFinite(value)
  if (typeof value !== "object" || depth >= MAX_DEPTH) return false
  if (Array.isArray(value)) {
    // `every` skips holes.
    for (let index = 0; index < value.length; index++) if (!isPlain(value[index], depth + 1)) return false
    return !("toJSON" in value)
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if ((prototype !== Object.prototype && prototype !== null) || "toJSON" in value) return false
  for (const name of Object.keys(value)) {
    const field: unknown = (value as Record<string, unknown>)[name]
    if (field !== undefined && !isPlain(field, depth + 1)) return false
  }
  return true
}

/**
 * Writes a signal as JSON.
 *
 * @param name the signal in messages, such as `signals[3]`
 * @throws {InvalidSignalError} as `encodeJson`, or the value is no object
 */
export function encodeSignal(signal: unknown, name = ""): string {
  const text = encodeJson(signal, name)
  if (text.startsWith("{")) return text
  throw new InvalidSignalError(`${name || "The signal"} must be an object with the fields of a signal.`, {
    failureCode: "wrong_type",
  })
}

/** Writes a value in one pass: what is checked is what is written, even when `toJSON` changes its mind. */
class Encoder {
  readonly #name: string
  readonly #path: Path = []
  readonly #ancestors: object[] = []

  constructor(name: string) {
    this.#name = name
  }

  write(value: unknown): string {
    switch (typeof value) {
      case "string":
        return this.#quote(value)
      case "number":
        if (Number.isFinite(value)) return String(value)
        return this.#refuse(`is ${value}, which JSON cannot hold`)
      case "boolean":
      case "bigint":
        return String(value)
      case "object":
        return value === null ? "null" : this.#writeObject(value)
      default:
        return this.#refuse(
          `is ${value === undefined ? "undefined" : `a ${typeof value}`}, which JSON cannot hold`,
        )
    }
  }

  #writeObject(value: object): string {
    if (isRawJSON(value)) return (value as { rawJSON: string }).rawJSON
    if (this.#ancestors.length >= MAX_DEPTH) this.#refuseDepth(value)
    this.#ancestors.push(value)
    const text = this.#writeInside(value)
    this.#ancestors.pop()
    return text
  }

  #writeInside(value: object): string {
    if (value instanceof Date && Number.isNaN(value.getTime())) this.#refuse("is an invalid Date")
    if (typeof (value as { toJSON?: unknown }).toJSON === "function") return this.#writeConverted(value)
    if (Array.isArray(value)) return this.#writeArray(value)
    if (
      value instanceof Number ||
      value instanceof String ||
      value instanceof Boolean ||
      value instanceof BigInt
    )
      return this.write(value.valueOf())
    return this.#writeFields(value)
  }

  /** Writes what `toJSON` returns, which is asked once. */
  #writeConverted(value: object): string {
    let converted: unknown
    try {
      converted = (value as { toJSON: (key: string) => unknown }).toJSON(String(this.#path.at(-1) ?? ""))
    } catch (cause) {
      return this.#refuse("has a toJSON that throws", "wrong_type", cause)
    }
    const isPlain = typeof converted === "object" && converted !== null && !Array.isArray(converted)
    return isPlain ? this.#writeFields(converted as object) : this.write(converted)
  }

  #writeArray(values: readonly unknown[]): string {
    const texts: string[] = []
    for (let index = 0; index < values.length; index++) {
      this.#path.push(index)
      texts.push(this.write(values[index]))
      this.#path.pop()
    }
    return `[${texts.join(",")}]`
  }

  #writeFields(value: object): string {
    const names = Object.keys(value)
    if (hidesItsContent(value, names)) this.#refuse(`is a ${kindOf(value)}, which JSON cannot hold`)
    let text = ""
    for (const name of names) {
      const field: unknown = (value as Record<string, unknown>)[name]
      if (field === undefined) continue
      const quoted = this.#quote(name)
      this.#path.push(name)
      text += `${text === "" ? "" : ","}${quoted}:${this.write(field)}`
      this.#path.pop()
    }
    return `{${text}}`
  }

  #quote(text: string): string {
    if (!isWellFormed(text)) this.#refuse("holds half of a surrogate pair", "invalid_text")
    return JSON.stringify(text)
  }

  #refuseDepth(value: object): never {
    const isCycle = this.#ancestors.includes(value)
    // The path of a cycle repeats itself up to the bound.
    if (isCycle) this.#path.length = this.#ancestors.indexOf(value)
    this.#refuse(isCycle ? "contains itself" : `is nested deeper than ${MAX_DEPTH} levels`, "too_deep")
  }

  #refuse(why: string, failureCode: FailureCode = "wrong_type", cause?: unknown): never {
    const [first] = this.#path
    const place = placeOf(this.#name, this.#path)
    throw new InvalidSignalError(`${place || "The signal"} ${why}.`, {
      failureCode,
      field: typeof first === "string" ? first : undefined,
      cause,
    })
  }
}

const placeOf = (name: string, path: Path): string =>
  path.reduce<string>(
    (text, step) => (typeof step === "number" ? `${text}[${step}]` : text === "" ? step : `${text}.${step}`),
    name,
  )

const isWellFormed = (text: string): boolean =>
  typeof text.isWellFormed === "function" ? text.isWellFormed() : !/\p{Surrogate}/u.test(text)

/** Whether an object keeps its content outside of its properties, so that JSON would lose it silently. */
function hidesItsContent(value: object, names: readonly string[]): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null) return false
  if (value instanceof Map || value instanceof Set || value instanceof Error || ArrayBuffer.isView(value))
    return true
  return names.length === 0 && kindOf(value) !== "Object"
}

const kindOf = (value: object): string => value.constructor?.name || "value"

/**
 * Reads a signal that `encodeSignal` has written. An integer that a double cannot hold becomes a bigint
 * again, where the runtime shows its digits.
 */
export const decodeSignal = (text: string): NewSignal => JSON.parse(text, restoreBigint) as NewSignal

function restoreBigint(_: string, value: unknown, context?: { source?: string }): unknown {
  const { source } = context ?? {}
  return typeof value === "number" &&
    source !== undefined &&
    !Number.isSafeInteger(value) &&
    /^-?\d+$/.test(source)
    ? BigInt(source)
    : value
}
