/** Why a timestamp can't be taken: it is none (`shape`), or it lies outside the years 0001-9999 (`range`). */
export interface TimestampFault {
  kind: "shape" | "range"
  message: string
}

/** Basic or extended ISO 8601, the separators within date and time each used throughout or not at all. */
const ISO_8601 =
  /^(\d{4})(-?)(\d\d)\2(\d\d)(?:[Tt ](\d\d)(?:(:?)(\d\d)(?:\6(\d\d)(?:[.,](\d+))?)?)?(?:[Zz]|([+-])(\d\d)(?::?(\d\d))?)?)?$/

/** Above this magnitude an epoch number counts milliseconds: 2e10 seconds is the year 2603 (Pydantic's rule). */
const LARGEST_EPOCH_SECONDS = 2e10

const FIRST_SECOND = -62_135_596_800
const LAST_SECOND = 253_402_300_799

/**
 * The UTC text, with microseconds, of an ISO 8601 string (no offset means UTC) or a Unix epoch number: `2018-02-04T22:02:08.000107Z`.
 * Digits beyond microseconds are cut. Postgres reads the text as it is, and an array literal needs no quotes around it.
 *
 * @see https://docs.pydantic.dev/latest/api/standard_library_types/#datetimedatetime
 */
export function parseTimestamp(input: string | number): string | TimestampFault {
  return typeof input === "number" ? fromEpoch(input) : fromIso(input)
}

/** An instant of the platform's clock, as `parseTimestamp` writes it. */
export function instantText(instant: Date): string {
  return instant.toISOString().replace("Z", "000Z")
}

function fromIso(text: string): string | TimestampFault {
  const parts = ISO_8601.exec(text)
  if (!parts) return notIso(text)
  const [
    ,
    year = "",
    ,
    month = "",
    day = "",
    hour = "00",
    ,
    minute = "00",
    second = "00",
    fraction = "",
    sign,
    offsetHour,
    offsetMinute = "00",
  ] = parts
  if (month < "01" || month > "12") return shape("month value is outside expected range of 1-12")
  if (day < "01" || Number(day) > daysIn(Number(year), Number(month))) return shape("day value is outside expected range")
  if (hour > "23") return shape("hour value is outside expected range of 0-23")
  if (minute > "59") return shape("minute value is outside expected range of 0-59")
  if (second > "59") return shape("second value is outside expected range of 0-59")
  const micros = fraction.padEnd(6, "0").slice(0, 6)
  if (sign === undefined || offsetHour === undefined) {
    return year === "0000" ? OUT_OF_RANGE : `${year}-${month}-${day}T${hour}:${minute}:${second}.${micros}Z`
  }
  if (offsetHour > "23" || offsetMinute > "59") return shape("timezone offset must be less than 24 hours")
  const offsetSeconds = (Number(offsetHour) * 60 + Number(offsetMinute)) * (sign === "-" ? -60 : 60)
  // In this form ECMAScript reads every year from 0000 to 9999.
  return fromSeconds(Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`) / 1000 - offsetSeconds, micros)
}

function fromEpoch(epoch: number): string | TimestampFault {
  const unit = Math.abs(epoch) > LARGEST_EPOCH_SECONDS ? 1000 : 1
  const seconds = Math.floor(epoch / unit)
  const micros = Math.round(((epoch - seconds * unit) * 1e6) / unit)
  return micros === 1e6 ? fromSeconds(seconds + 1, "000000") : fromSeconds(seconds, String(micros).padStart(6, "0"))
}

function fromSeconds(seconds: number, micros: string): string | TimestampFault {
  if (!(seconds >= FIRST_SECOND && seconds <= LAST_SECOND)) return OUT_OF_RANGE
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${micros}Z`
}

function daysIn(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}

const OUT_OF_RANGE: TimestampFault = { kind: "range", message: "timestamp must be between years 0001 and 9999" }

/** Pydantic's wording, with speedate's reasons. */
const shape = (reason: string): TimestampFault => ({
  kind: "shape",
  message: `Input should be a valid datetime or date, ${reason}`,
})

function notIso(text: string): TimestampFault {
  if (/^[+-]?\d+(?:\.\d*)?$/.test(text)) return shape("a Unix epoch is sent as a number, not as a string")
  return shape(text.length < "20250115".length ? "input is too short" : "it is not in ISO 8601 form")
}
