import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { instantText, parseTimestamp } from "../../../src/signals/timestamp.ts"

const databaseErrorOf = (input: string | number) => {
  const parsed = parseTimestamp(input)
  return typeof parsed === "string" ? parsed : `${parsed.kind}: ${parsed.message}`
}
const shape = (reason: string) => `shape: Input should be a valid datetime or date, ${reason}`
const OUT_OF_RANGE = "range: timestamp must be between years 0001 and 9999"

describe("an ISO 8601 timestamp", () => {
  it.each([
    ["2025-01-15T10:30:00Z", "2025-01-15T10:30:00.000000Z"],
    ["2025-01-15t10:30:00z", "2025-01-15T10:30:00.000000Z"],
    ["2025-01-15 10:30:00.5", "2025-01-15T10:30:00.500000Z"],
    ["2025-01-15T10:30:00,123456", "2025-01-15T10:30:00.123456Z"],
    ["2025-01-15T10:30", "2025-01-15T10:30:00.000000Z"],
    ["2025-01-15", "2025-01-15T00:00:00.000000Z"],
    ["20250115T103000Z", "2025-01-15T10:30:00.000000Z"],
    ["20250115", "2025-01-15T00:00:00.000000Z"],
    ["2025-01-15T10:30:00+02:00", "2025-01-15T08:30:00.000000Z"],
    ["2025-01-15T10:30:00.000001-0930", "2025-01-15T20:00:00.000001Z"],
    ["2024-02-29T23:30:00-01", "2024-03-01T00:30:00.000000Z"],
    ["2025-01-01T00:30:00+01:00", "2024-12-31T23:30:00.000000Z"],
    ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"],
    ["0050-06-01T01:00:00+01:00", "0050-06-01T00:00:00.000000Z"],
    ["2025-01-15T10:30:00.123456+00:00", "2025-01-15T10:30:00.123456Z"],
    ["2025-01-15T10+00:00", "2025-01-15T10:00:00.000000Z"],
    ["9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"],
  ])("%s is %s", (text, utc) => expect(parseTimestamp(text)).toBe(utc))

  it("is cut to microseconds, not rounded", () =>
    expect(parseTimestamp("2025-01-15T10:30:00.9999999")).toBe("2025-01-15T10:30:00.999999Z"))

  it.each([
    ["2025-13-01", "month value is outside expected range of 1-12"],
    ["2025-00-01", "month value is outside expected range of 1-12"],
    ["2025-02-29", "day value is outside expected range"],
    ["1900-02-29", "day value is outside expected range"],
    ["2025-04-31", "day value is outside expected range"],
    ["2025-01-15T24:00:00", "hour value is outside expected range of 0-23"],
    ["2025-01-15T10:60", "minute value is outside expected range of 0-59"],
    ["2025-01-15T10:30:60Z", "second value is outside expected range of 0-59"],
    ["2025-01-15T10:30:00+24:00", "timezone offset must be less than 24 hours"],
    ["2025-01-15T10:30:00+01:60", "timezone minute value is outside expected range of 0-59"],
    ["January 15, 2025", "invalid character in year"],
    ["2025-1-5", "invalid character in month"],
    ["2025-W03-3", "invalid character in month"],
    ["2025-0115", "invalid date separator, expected `-`"],
    ["2025-01-1x", "invalid character in day"],
    ["2025-01-15_10:30", "invalid datetime separator, expected `T`, `t` or space"],
    ["2025-01-15Z", "invalid datetime separator, expected `T`, `t` or space"],
    ["2025-01-15T1x:30", "invalid character in hour"],
    ["2025-01-15T10:3x", "invalid character in minute"],
    ["2025-01-15T10:30.5", "invalid time separator, expected `:`"],
    ["2025-01-15T1030:00", "invalid character in second"],
    ["2025-01-15T10:30:0x", "invalid character in second"],
    ["2025-01-15T10:30:00.Z", "second fraction digits missing after `.`"],
    ["2025-01-15T10:30:00.1 PM", "invalid timezone sign"],
    ["2025-01-15T10:30:00 Europe/Rome", "invalid timezone sign"],
    ["2025-01-15T10:30:00+x", "invalid timezone hour"],
    ["2025-01-15T10:30:00+1:00", "invalid timezone hour"],
    ["2025-01-15T10:30:00+01:", "invalid timezone minute"],
    ["2025-01-15T10:30:00Z\n", "unexpected extra characters at the end of the input"],
    ["2025-01-15T10:30:00+01:00Z", "unexpected extra characters at the end of the input"],
    ["now", "input is too short"],
    ["", "input is too short"],
    ["2025-01-1", "input is too short"],
    ["2025-01-15T", "input is too short"],
    ["2025-01-15T10:3", "input is too short"],
    ["1517781728", "a Unix epoch is sent as a number, not as a string"],
    ["-1517781728.000107", "a Unix epoch is sent as a number, not as a string"],
    ["20251315", "month value is outside expected range of 1-12"],
  ])("must not be %j, and the error has Pydantic's words", (text, reason) =>
    expect(databaseErrorOf(text)).toBe(shape(reason)),
  )

  it("is refused equally fast when it is a megabyte of digits", () =>
    expect(databaseErrorOf(`${"1".repeat(1_000_000)}x`)).toBe(
      shape("invalid datetime separator, expected `T`, `t` or space"),
    ))

  it.each(["0000-01-01", "0001-01-01T00:30:00+01:00", "9999-12-31T23:30:00-01:00"])(
    "must not leave the years 0001-9999 as %s does",
    (text) => expect(databaseErrorOf(text)).toBe(OUT_OF_RANGE),
  )

  it("is the same instant in every spelling", () =>
    fc.assert(
      fc.property(
        localTime,
        spelling,
        zone,
        (local, { dash, separator, colon, precision, fraction }, { text, minutes }) => {
          const [date, time] = [local.slice(0, 10), local.slice(11, 11 + precision)]
          const digits = precision === "hh:mm:ss".length ? fraction : ""
          const utc = new Date(
            Date.parse(`${date}T${time}${"00:00:00".slice(precision)}Z`) - minutes * 60_000,
          )
          expect(
            parseTimestamp(
              `${date.replaceAll("-", dash)}${separator}${time.replaceAll(":", colon)}${digits}${text}`,
            ),
          ).toBe(`${utc.toISOString().slice(0, 19)}.${digits.slice(1, 7).padEnd(6, "0")}Z`)
        },
      ),
      { numRuns: 5000 },
    ))

  it("is a text or an error for any input, and reading the text again gives the same", () =>
    fc.assert(
      fc.property(almost, (text) => {
        const read = parseTimestamp(text)
        if (typeof read === "string") expect(parseTimestamp(read)).toBe(read)
        else expect(read.message).toBeTruthy()
      }),
      { numRuns: 5000 },
    ))
})

const localTime = fc
  .date({ min: new Date("0001-01-02T00:00:00Z"), max: new Date("9999-12-30T00:00:00Z"), noInvalidDate: true })
  .map((date) => date.toISOString())

const spelling = fc.record({
  dash: fc.constantFrom("-", ""),
  separator: fc.constantFrom("T", "t", " "),
  colon: fc.constantFrom(":", ""),
  precision: fc.constantFrom("hh".length, "hh:mm".length, "hh:mm:ss".length),
  fraction: fc.oneof(fc.constant(""), fc.stringMatching(/^[.,][0-9]{1,12}$/)),
})

const zone = fc.oneof(
  fc.constantFrom("Z", "z", "", "+00", "-00:00").map((text) => ({ text, minutes: 0 })),
  fc
    .tuple(
      fc.constantFrom("+", "-"),
      fc.integer({ min: 0, max: 23 }),
      fc.integer({ min: 0, max: 59 }),
      fc.constantFrom(":", ""),
    )
    .map(([sign, hour, minute, colon]) => ({
      text: `${sign}${String(hour).padStart(2, "0")}${colon}${String(minute).padStart(2, "0")}`,
      minutes: Number(`${sign}${hour * 60 + minute}`),
    })),
)

/** A timestamp with a few characters changed. */
const almost = fc
  .tuple(
    fc.constantFrom("2024-02-29T23:59:59.999999-01:00", "20240229T235959Z", "9999-12-31 23:30"),
    fc.array(fc.nat(40)),
    fc.string(),
  )
  .map(([text, indexes, characters]) =>
    indexes.reduce<string>(
      (changed, index, n) => changed.slice(0, index) + (characters[n] ?? "") + changed.slice(index + 1),
      text,
    ),
  )

describe("an instant of the clock", () => {
  it("is written in the format of a timestamp", () =>
    expect(instantText(new Date("2025-01-15T10:30:00.123Z"))).toBe(parseTimestamp("2025-01-15T10:30:00.123")))
})

describe("a Unix epoch", () => {
  it.each([
    [0, "1970-01-01T00:00:00.000000Z"],
    [1736936400, "2025-01-15T10:20:00.000000Z"],
    [1517781728.000107, "2018-02-04T22:02:08.000107Z"],
    [1517781728000.107, "2018-02-04T22:02:08.000107Z"],
    [1736936400000, "2025-01-15T10:20:00.000000Z"],
    [20_000_000_000, "2603-10-11T11:33:20.000000Z"],
    [20_000_000_001, "1970-08-20T11:33:20.001000Z"],
    [253_402_300_799_999, "9999-12-31T23:59:59.999000Z"],
    [-62_135_596_800_000, "0001-01-01T00:00:00.000000Z"],
    [-1.5, "1969-12-31T23:59:58.500000Z"],
    [0.9999999, "1970-01-01T00:00:01.000000Z"],
  ])("of %d is %s", (epoch, utc) => expect(parseTimestamp(epoch)).toBe(utc))

  it.each([Number.NaN, Infinity, -Infinity, 1e18, 1e30, -Number.MAX_VALUE, -1e15, 253_402_300_800_000])(
    "must not be %d",
    (epoch) => expect(databaseErrorOf(epoch)).toBe(OUT_OF_RANGE),
  )

  it("keeps every microsecond that a double can distinguish", () =>
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 4_000_000_000 }),
        fc.integer({ min: 0, max: 999_999 }),
        (seconds, micros) => {
          const fraction = String(micros).padStart(6, "0")
          expect(parseTimestamp(Number(`${seconds}.${fraction}`))).toBe(
            `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${fraction}Z`,
          )
        },
      ),
    ))
})
