import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { instantText, parseTimestamp } from "../../src/signals/timestamp.ts"

const faultOf = (input: string | number) => {
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
    ["2025-1-5", "it is not in ISO 8601 form"],
    ["2025-0115", "it is not in ISO 8601 form"],
    ["2025-01-15T1030:00", "it is not in ISO 8601 form"],
    ["January 15, 2025", "it is not in ISO 8601 form"],
    ["2025-01-15T10:30:00Z\n", "it is not in ISO 8601 form"],
    ["now", "input is too short"],
    ["", "input is too short"],
    ["1517781728.000107", "a Unix epoch is sent as a number, not as a string"],
  ])("may not be %j", (text, reason) => expect(faultOf(text)).toBe(shape(reason)))

  it("is refused as fast when it is a megabyte of digits", () =>
    expect(faultOf(`${"1".repeat(1_000_000)}x`)).toBe(shape("it is not in ISO 8601 form")))

  it.each(["0000-01-01", "0001-01-01T00:30:00+01:00", "9999-12-31T23:30:00-01:00"])(
    "may not leave the years 0001-9999 as %s does",
    (text) => expect(faultOf(text)).toBe(OUT_OF_RANGE),
  )

  it("of any instant and offset is that instant", () =>
    fc.assert(
      fc.property(
        fc.date({ min: new Date("0001-01-02T00:00:00Z"), max: new Date("9999-12-30T00:00:00Z"), noInvalidDate: true }),
        fc.integer({ min: -23 * 60 - 59, max: 23 * 60 + 59 }),
        (instant, offsetMinutes) => {
          const local = new Date(instant.getTime() + offsetMinutes * 60_000).toISOString().slice(0, 23)
          const [hours, minutes] = [Math.floor(Math.abs(offsetMinutes) / 60), Math.abs(offsetMinutes) % 60].map((part) =>
            String(part).padStart(2, "0"),
          )
          expect(parseTimestamp(`${local}${offsetMinutes < 0 ? "-" : "+"}${hours}:${minutes}`)).toBe(instantText(instant))
        },
      ),
    ))
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
    [-1.5, "1969-12-31T23:59:58.500000Z"],
    [0.9999999, "1970-01-01T00:00:01.000000Z"],
  ])("of %d is %s", (epoch, utc) => expect(parseTimestamp(epoch)).toBe(utc))

  it.each([Number.NaN, Infinity, -Infinity, 1e18, -1e15, 253_402_300_800_000])("may not be %d", (epoch) =>
    expect(faultOf(epoch)).toBe(OUT_OF_RANGE),
  )

  it("keeps every microsecond that a double can tell apart", () =>
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4_000_000_000 }), fc.integer({ min: 0, max: 999_999 }), (seconds, micros) => {
        const fraction = String(micros).padStart(6, "0")
        expect(parseTimestamp(Number(`${seconds}.${fraction}`))).toBe(
          `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${fraction}Z`,
        )
      }),
    ))
})
