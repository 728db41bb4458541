import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { decodeUtf8, parseJson, parseNdjson as parseLines, plainNumber } from "../../../src/signals/json.ts"
import { Unreadable } from "../../../src/signals/shape-errors.ts"

const parseNdjson = (text: string) => parseLines(text, 10_000)
const roundTrip = (text: string) => JSON.stringify(parseJson(text))

const errorsOf = (read: () => unknown) => {
  try {
    read()
  } catch (error) {
    if (error instanceof Unreadable) return error.errors
    throw error
  }
}

describe("a JSON number that a double cannot hold", () => {
  it.each([
    "9007199254740993",
    "-12345678901234567890",
    "0.12345678901234567",
    "1e400",
    "-1e-400",
    "123456789.12345678901",
    "1E+0400",
  ])("%s keeps its digits wherever it stands", (number) => {
    for (const text of [number, `[${number}]`, `[1,${number}]`, `{"a":${number}}`, `{"a":[{"b":${number}}]}`])
      expect(roundTrip(text)).toBe(text)
    expect(roundTrip(`{"a" : \n ${number} }`)).toBe(`{"a":${number}}`)
  })

  it("keeps millions of digits in linear time", () => {
    for (const number of [`1e${"1".repeat(2_000_000)}`, "1".repeat(4_000_000)])
      expect(roundTrip(`[${number}]`)).toBe(`[${number}]`)
  })

  it("becomes the nearest double when the caller asks for a number", () => {
    expect(plainNumber(parseJson("0.12345678901234567890"))).toBe(0.12345678901234568)
    expect(plainNumber("0.5")).toBe("0.5")
  })

  it("never loses a digit, in any spelling and beside any text", () =>
    fc.assert(
      fc.property(
        fc.array(fc.oneof(number, textOfDigits), { minLength: 1, maxLength: 5 }),
        whitespace,
        (sources, space) => {
          const values = parseJson(`{"a":[${sources.join(`${space},${space}`)}${space}]}`) as { a: unknown[] }
          for (const [index, source] of sources.entries()) {
            const written = JSON.stringify(values.a[index])
            if (source.startsWith('"')) expect(written).toBe(source)
            else expect(decimalValue(written)).toEqual(decimalValue(source))
          }
        },
      ),
      { numRuns: 5000 },
    ))

  it("keeps its digits at any depth, among numbers without end", () => {
    const wide = `[${Array(100_000).fill("12345678901234567890").join()}]`
    expect(roundTrip(wide)).toBe(wide)
    const deep = `${"[".repeat(2000)}12345678901234567890${"]".repeat(2000)}`
    expect(roundTrip(deep)).toBe(deep)
  })

  it("is ignored in a name or a text", () => {
    const text =
      '{"12345678901234567890":"\\\\\\"12345678901234567890\\\\","a":"12345678901234567890","b":12345678901234567890}'
    expect(roundTrip(text)).toBe(text)
  })

  it("is refused where JSON allows no number, with the position in the text that was sent", () => {
    for (const text of [
      "[12345678901234567890,01234567890123456789]",
      "{12345678901234567890:1}",
      "[12345678901234567890,oops]",
    ])
      expect(errorsOf(() => parseJson(text))?.[0]?.msg).toBe(
        `Invalid JSON: ${messageOf(() => JSON.parse(text))}`,
      )
  })

  it("does not affect names: the last of equal names wins, and __proto__ is an ordinary one", () => {
    expect(roundTrip('{"a":{"b":1},"a":12345678901234567890,"__proto__":{"c":1}}')).toBe(
      '{"a":12345678901234567890,"__proto__":{"c":1}}',
    )
    expect(roundTrip('{"a":12345678901234567890,"a":1}')).toBe('{"a":1}')
  })
})

const messageOf = (work: () => unknown): string => {
  try {
    work()
  } catch (error) {
    return (error as Error).message
  }
  return ""
}

const digits = (min: number, max: number) => fc.stringMatching(new RegExp(`^[0-9]{${min},${max}}$`))

const number = fc
  .tuple(
    fc.constantFrom("", "-"),
    digits(1, 25),
    digits(0, 25),
    fc.option(fc.tuple(fc.constantFrom("e", "E", "E-", "e+"), digits(1, 4))),
  )
  .map(
    ([sign, whole, fraction, exponent]) =>
      `${sign}${whole.replace(/^0+(?=.)/, "")}${fraction && `.${fraction}`}${exponent?.join("") ?? ""}`,
  )

const textOfDigits = fc.stringMatching(/^[0-9.eE+ ,"\\-]{0,40}$/).map((text) => JSON.stringify(text))

const whitespace = fc.constantFrom("", " ", "\t", "\r\n")

/** A decimal number as an exact fraction of integers: digits and a power of ten, without trailing zeros. */
function decimalValue(number: string): [digits: bigint, exponent: number] {
  const [mantissa = "", exponent = "0"] = number.toLowerCase().split("e")
  const [whole = "", fraction = ""] = mantissa.split(".")
  let digits = BigInt(`${whole}${fraction}`)
  let power = Number(BigInt(exponent.replace("+", ""))) - fraction.length
  if (digits === 0n) return [0n, 0]
  while (digits % 10n === 0n) {
    digits /= 10n
    power++
  }
  return [digits, power]
}

describe("any other JSON", () => {
  it.each([
    '{"ts":"1517781728.000107"}',
    '{"id":"7021321E-C6E2-46F3-8895-CD9AB167F132"}',
    "[1.0,1e2,-0,0.10,123456789012345]",
  ])("%s is read as JSON.parse reads it", (text) => expect(parseJson(text)).toEqual(JSON.parse(text)))

  it("is equal to JSON.parse's result", () =>
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(roundTrip(JSON.stringify(value))).toBe(JSON.stringify(value))
      }),
    ))

  it.each(["1".repeat(4_000_000), "1e99".repeat(1_000_000), "1.".repeat(2_000_000), "e1".repeat(2_000_000)])(
    "is read equally fast when its texts consist of digits",
    (digits) => expect(parseJson(JSON.stringify({ digits }))).toEqual({ digits }),
  )

  it("can have a name like __proto__, as an ordinary name", () =>
    expect(Object.keys(parseJson('{"__proto__":{"a":1}}') as object)).toEqual(["__proto__"]))
})

describe("a text that is not JSON", () => {
  it.each(["", "{", "{a:1}", "[1,]", "nul", '"\n"', "1 2", "\ufeff1"])(
    "%j is refused with a reason",
    (text) =>
      expect(errorsOf(() => parseJson(text))).toEqual([
        { type: "json_invalid", loc: ["body"], msg: expect.stringMatching(/^Invalid JSON: .+/) },
      ]),
  )
})

describe("JSON that nests by the thousand", () => {
  const deep = `${"[".repeat(200_000)}12345678901234567890${"]".repeat(200_000)}`

  it("keeps the digits of other values", () => {
    const read = parseJson(
      `{"a":[12345678901234567890,{"__proto__":1e400}],"number":"\\"12345678901234567890\\\\","b":0.1,"deep":${deep}}`,
    ) as Record<string, unknown>
    const { deep: _, ...rest } = read
    expect(JSON.stringify(rest)).toBe(
      '{"a":[12345678901234567890,{"__proto__":1e400}],"number":"\\"12345678901234567890\\\\","b":0.1}',
    )
  })

  it("is not JSON when it is truncated", () =>
    expect(errorsOf(() => parseJson(`[1e400,${"[".repeat(200_000)}`))).toMatchObject([
      { type: "json_invalid" },
    ]))
})

describe("NDJSON", () => {
  it("has one value on each line; blank lines are skipped, and digits kept", () => {
    const values = parseNdjson('{"a":1}\r\n\n  \n[12345678901234567890]\n"x"')
    expect(JSON.stringify(values)).toBe('[{"a":1},[12345678901234567890],"x"]')
  })

  it("names every invalid line by its index and its number", () =>
    expect(errorsOf(() => parseNdjson('{"a":1}\n{oops\n\n{"b":2}\nno'))).toEqual([
      {
        type: "json_invalid",
        loc: ["body", "signals", 1],
        msg: expect.stringMatching(/^Invalid JSON: line 2: /),
      },
      {
        type: "json_invalid",
        loc: ["body", "signals", 3],
        msg: expect.stringMatching(/^Invalid JSON: line 5: /),
      },
    ]))

  it("is read until one value beyond the maximum", () =>
    expect(parseLines("1\n".repeat(4_000_000), 3)).toEqual([1, 1, 1, 1]))

  it("names at most 100 bad lines, and then says that there are more", () => {
    expect(errorsOf(() => parseNdjson("x\n".repeat(100)))).toHaveLength(100)
    const errors = errorsOf(() => parseNdjson("x\n".repeat(1000)))
    expect(errors).toHaveLength(101)
    expect(errors?.[100]).toEqual({ type: "too_many_errors", loc: ["body"], msg: "and more" })
  })
})

describe("the bytes of a body", () => {
  const bytes = (text: string) => new TextEncoder().encode(text)

  it("are read as UTF-8, without a byte order mark at their start", () => {
    expect(decodeUtf8(bytes('\ufeff{"a":"\u{1F600}\ufeff"}'))).toBe('{"a":"\u{1F600}\ufeff"}')
    expect(parseNdjson(decodeUtf8(bytes("\ufeff1\n2")))).toEqual([1, 2])
  })

  it.each([[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xe2, 0x82]])(
    "are refused, not repaired, when they are not UTF-8",
    (...wrong) =>
      expect(errorsOf(() => decodeUtf8(new Uint8Array([0x22, ...wrong])))).toEqual([
        {
          type: "string_unicode",
          loc: ["body"],
          msg: "Input should be a valid string, unable to parse raw data as a unicode string",
        },
      ]),
  )
})
