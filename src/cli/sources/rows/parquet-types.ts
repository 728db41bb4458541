import type { SchemaElement, SchemaTree } from "hyparquet"
import { readJsonLine } from "../reading/json.ts"
import { BadCell, type Cell, elementOf, exactNumber, RowError, textOf } from "./convert.ts"

/**
 * The types of Parquet, of which the library reads only the physical ones here.
 *
 * @see https://github.com/apache/parquet-format/blob/master/LogicalTypes.md
 */

/** A copy of a schema in which only lists keep their logical type, so that the library converts no value. */
export function plainSchema(schema: readonly SchemaElement[]): SchemaElement[] {
  let variantEnds = 0
  return schema.map((element, index) => {
    // The library reads the values of a variant.
    if (element.logical_type?.type === "VARIANT") variantEnds = index + sizeOf(schema, index)
    if (index < variantEnds) return element
    const { converted_type, logical_type, ...plain } = element
    return isList(element) ? { ...plain, converted_type: "LIST" } : plain
  })
}

/** The elements of a schema that belong to the one at `index`, with itself. */
function sizeOf(schema: readonly SchemaElement[], index: number): number {
  let size = 1
  for (let child = 0; child < (schema[index]?.num_children ?? 0); child++)
    size += sizeOf(schema, index + size)
  return size
}

const isList = ({ converted_type, logical_type }: SchemaElement) =>
  converted_type === "LIST" || logical_type?.type === "LIST"
const isMap = ({ converted_type, logical_type }: SchemaElement) =>
  converted_type === "MAP" || converted_type === "MAP_KEY_VALUE" || logical_type?.type === "MAP"

/** Converts a value of a column, read with the schema of `plainSchema`. @param column with its own types */
export function cellOf(column: SchemaTree, value: unknown): Cell {
  try {
    return convertedOf(column, value, false)
  } catch (error) {
    if (error instanceof RowError) return new BadCell(error.message)
    throw error
  }
}

/** @param isElement of a repeated column */
function convertedOf(column: SchemaTree, value: unknown, isElement: boolean): Cell {
  const { element, children } = column
  if (value === null || value === undefined) return null
  if (element.repetition_type === "REPEATED" && !isElement)
    return (value as unknown[]).map((item) => inner(column, item, true))
  if (element.logical_type?.type === "VARIANT") return value
  const [first] = children
  if (first === undefined) return leafOf(element, value)
  if (isList(element)) {
    const [only, ...more] = first.children
    const item = only !== undefined && more.length === 0 ? only : first
    return (value as unknown[]).map((one) => inner(item, one, item === first))
  }
  if (isMap(element) && first.children.length === 2) return mapOf(first, value as Record<string, unknown>)
  const fields = value as Record<string, unknown>
  return Object.fromEntries(
    children.map((child) => [child.element.name, inner(child, fields[child.element.name], false)]),
  )
}

const inner = (column: SchemaTree, value: unknown, isElement: boolean): unknown => {
  const cell = convertedOf(column, value, isElement)
  return cell === null ? null : elementOf(cell)
}

function mapOf({ element, children }: SchemaTree, value: Record<string, unknown>): Cell {
  const [key, item] = children as [SchemaTree, SchemaTree]
  const entries = (value[element.name] ?? []) as Record<string, unknown>[]
  return Object.fromEntries(
    entries.map((entry) => {
      const name = inner(key, entry[key.element.name], false)
      return [
        typeof name === "string" ? name : JSON.stringify(name),
        inner(item, entry[item.element.name], false),
      ]
    }),
  )
}

function leafOf(element: SchemaElement, value: unknown): Cell {
  const name = typeNameOf(element)
  const read = name === undefined ? undefined : TYPES[name]
  if (read) return read(value as never, element)
  if (element.type === "INT96") return instantOf(value as bigint, "NANOS", true)
  if (element.type === "FLOAT") return shortestOf(value as number)
  return typeof value === "bigint" ? exactNumber(String(value)) : value
}

/** One name for the converted and the logical types that mean the same. */
function typeNameOf({ converted_type, logical_type }: SchemaElement): string | undefined {
  if (logical_type?.type === "INTEGER" && !logical_type.isSigned) return `UINT_${logical_type.bitWidth}`
  return logical_type?.type && logical_type.type !== "INTEGER" ? logical_type.type : converted_type
}

type Read = (value: never, element: SchemaElement) => Cell

const text: Read = (bytes: Uint8Array) => textOf(bytes)
const unsigned = (bits: number) => (value: number | bigint) =>
  exactNumber(String(BigInt.asUintN(bits, BigInt(value))))

const TYPES: Record<string, Read> = {
  UTF8: text,
  STRING: text,
  ENUM: text,
  JSON: (bytes: Uint8Array) => {
    const json = textOf(bytes)
    return (readJsonLine(json) ?? { json }).json
  },
  UUID: (bytes: Uint8Array) =>
    Buffer.from(bytes)
      .toString("hex")
      .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"),
  DECIMAL: (value: number | bigint | Uint8Array, { scale, logical_type }) =>
    decimalOf(
      value instanceof Uint8Array ? signedOf(value) : BigInt(value),
      scale ?? (logical_type?.type === "DECIMAL" ? logical_type.scale : 0),
    ),
  DATE: (days: number) => dateOf(BigInt(days)),
  TIME_MILLIS: (millis: number) => timeOf(BigInt(millis), 3),
  TIME_MICROS: (micros: bigint) => timeOf(BigInt(micros), 6),
  TIME: (value: number | bigint, { logical_type }) =>
    timeOf(BigInt(value), logical_type?.type === "TIME" ? DIGITS[logical_type.unit] : 6),
  TIMESTAMP_MILLIS: (millis: bigint) => instantOf(millis, "MILLIS", true),
  TIMESTAMP_MICROS: (micros: bigint) => instantOf(micros, "MICROS", true),
  TIMESTAMP: (value: bigint, { logical_type }) =>
    logical_type?.type === "TIMESTAMP"
      ? instantOf(value, logical_type.unit, logical_type.isAdjustedToUTC)
      : exactNumber(String(value)),
  INTERVAL: (bytes: Uint8Array) => intervalOf(Buffer.from(bytes)),
  FLOAT16: (bytes: Uint8Array) => halfOf(Buffer.from(bytes).readUInt16LE()),
  UINT_8: unsigned(8),
  UINT_16: unsigned(16),
  UINT_32: unsigned(32),
  UINT_64: unsigned(64),
}

const DIGITS = { MILLIS: 3, MICROS: 6, NANOS: 9 } as const

/** A whole number in two's complement, its highest byte first. */
const signedOf = (bytes: Uint8Array): bigint =>
  bytes.length === 0 ? 0n : BigInt.asIntN(bytes.length * 8, BigInt(`0x${Buffer.from(bytes).toString("hex")}`))

function decimalOf(unscaled: bigint, scale: number): Cell {
  if (scale <= 0) return exactNumber(`${unscaled}${unscaled === 0n ? "" : "0".repeat(-scale)}`)
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, "0")
  return exactNumber(`${unscaled < 0n ? "-" : ""}${digits.slice(0, -scale)}.${digits.slice(-scale)}`)
}

/**
 * The shortest decimal number that a 32-bit float prints as, as databases write it: 0.1, not 0.10000000149.
 */
function shortestOf(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits))
    if (Math.fround(short) === value) return short
  }
  return value
}

/** @see https://en.wikipedia.org/wiki/Half-precision_floating-point_format */
function halfOf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = (bits & 0x3ff) / 1024
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  return sign * (exponent === 0 ? 2 ** -14 * fraction : 2 ** (exponent - 15) * (1 + fraction))
}

const DAY_MICROS = 86_400_000_000n
/** 0001-01-01 and 9999-12-31, in days since 1970-01-01. */
const [FIRST_DAY, LAST_DAY] = [-719_162n, 2_932_896n]

const dividedDown = (value: bigint, by: bigint) => value / by - (value % by < 0n ? 1n : 0n)

/** @throws {RowError} the year is not one of four digits */
function dateOf(days: bigint): string {
  if (days < FIRST_DAY || days > LAST_DAY) throw new RowError("the date is outside the years 1 to 9999")
  return new Date(Number(days) * 86_400_000).toISOString().slice(0, 10)
}

/** A time of day, as Postgres writes it: 10:00:00.5 */
function timeOf(value: bigint, digits: number): string {
  const unit = 10n ** BigInt(digits)
  const seconds = value / unit
  const fraction = String(value % unit)
    .padStart(digits, "0")
    .replace(/(?<!0)0+$/, "")
  const parts = [seconds / 3600n, (seconds / 60n) % 60n, seconds % 60n]
  const time = parts.map((part) => String(part).padStart(2, "0")).join(":")
  return fraction === "" ? time : `${time}.${fraction}`
}

/** A timestamp as ISO 8601 with six digits; those beyond are cut off. */
function instantOf(value: bigint, unit: keyof typeof DIGITS, isUtc: boolean): string {
  const micros = unit === "MILLIS" ? value * 1000n : unit === "MICROS" ? value : dividedDown(value, 1000n)
  const days = dividedDown(micros, DAY_MICROS)
  const rest = micros - days * DAY_MICROS
  const time = timeOf(rest / 1_000_000n, 0)
  return `${dateOf(days)}T${time}.${String(rest % 1_000_000n).padStart(6, "0")}${isUtc ? "Z" : ""}`
}

/** Months, days and milliseconds as an ISO 8601 duration. */
function intervalOf(bytes: Buffer): string {
  const [months, days, millis] = [bytes.readUInt32LE(0), bytes.readUInt32LE(4), bytes.readUInt32LE(8)]
  const time = millis === 0 ? "" : `T${millis / 1000}S`
  const duration = `${months === 0 ? "" : `${months}M`}${days === 0 ? "" : `${days}D`}${time}`
  return `P${duration === "" ? "T0S" : duration}`
}
