/**
 * The ClickHouse types that a value can have. They decide the type of arithmetic results, and which numbers
 * are in quotes.
 */
export type IntegerType = { kind: "integer"; bits: 8 | 16 | 32 | 64; signed: boolean }
export type Type =
  | IntegerType
  | { kind: "float" }
  | { kind: "text" }
  | { kind: "time" }
  | { kind: "condition" }

export const integer = (bits: IntegerType["bits"], signed = false): IntegerType => ({
  kind: "integer",
  bits,
  signed,
})
export const FLOAT: Type = { kind: "float" }
export const TEXT: Type = { kind: "text" }
export const TIME: Type = { kind: "time" }
export const CONDITION: Type = { kind: "condition" }

export const isNumber = (type: Type) => type.kind === "integer" || type.kind === "float"

/** The type's name in `meta` of an answer. */
export function typeName(type: Type): string {
  if (type.kind === "integer") return `${type.signed ? "Int" : "UInt"}${type.bits}`
  return { float: "Float64", text: "String", time: "DateTime", condition: "UInt8" }[type.kind]
}

/** The type of a number that has only digits: the smallest type that holds it. */
export function literalType(value: bigint): IntegerType {
  for (const bits of [8, 16, 32, 64] as const) {
    if (value >= 0n ? value < 1n << BigInt(bits) : value >= -(1n << BigInt(bits - 1)))
      return integer(bits, value < 0n)
  }
  return integer(64)
}

const wider = (bits: IntegerType["bits"]) => Math.min(64, bits * 2) as IntegerType["bits"]
const widest = (a: IntegerType, b: IntegerType) => Math.max(a.bits, b.bits) as IntegerType["bits"]

/**
 * The type of an arithmetic result: the next larger size, and signed where a difference can be negative.
 *
 * @see https://github.com/ClickHouse/ClickHouse/blob/master/src/DataTypes/NumberTraits.h
 */
export function arithmeticType(sign: "+" | "-" | "*" | "/", left: Type, right: Type): Type {
  if (sign === "/" || left.kind !== "integer" || right.kind !== "integer") return FLOAT
  return integer(wider(widest(left, right)), sign === "-" || left.signed || right.signed)
}

export const negativeType = (type: Type): Type =>
  type.kind === "integer" ? integer(type.signed ? type.bits : wider(type.bits), true) : type

export const sumType = (type: Type): Type => (type.kind === "integer" ? integer(64, type.signed) : type)

/** The common type of two values; undefined where ClickHouse has none. */
export function commonType(a: Type, b: Type): Type | undefined {
  if (a.kind === "integer" && b.kind === "integer") {
    if (a.signed === b.signed) return integer(widest(a, b), a.signed)
    const [signed, unsigned] = a.signed ? [a, b] : [b, a]
    if (unsigned.bits === 64) return undefined
    return integer(signed.bits > unsigned.bits ? signed.bits : wider(unsigned.bits), true)
  }
  if (isNumber(a) && isNumber(b)) {
    // A float cannot hold every integer of 64 bits.
    return [a, b].some((type) => type.kind === "integer" && type.bits === 64) ? undefined : FLOAT
  }
  return a.kind === b.kind ? a : undefined
}
