/** The error of a timestamp: it is not a time (`shape`), or outside the years 0001-9999 (`range`). */
export interface TimestampError {
  kind: "shape" | "range"
  message: string
}

/**
 * Above this magnitude an epoch number is in milliseconds (Pydantic's rule): 2e10 seconds is the year 2603.
 */
const LARGEST_EPOCH_SECONDS = 2e10

const MICROS_A_SECOND = 1e6
const SECONDS_A_DAY = 86_400

/** 0001-01-01 and 9999-12-31, in days since 1970-01-01. */
const FIRST_DAY = -719_162
const LAST_DAY = 2_932_896

const OUT_OF_RANGE: TimestampError = {
  kind: "range",
  message: "timestamp must be between years 0001 and 9999",
}

/**
 * Converts an ISO 8601 string (no offset means UTC) or a Unix epoch number to UTC text with microseconds:
 * `2018-02-04T22:02:08.000107Z`. Truncates digits beyond microseconds. Postgres reads the text unchanged, and
 * it needs no quotes in an array literal.
 *
 * It serves two checks: `shape` is a validation error of the request, `range` a rule violation of one signal.
 *
 * Accepts calendar dates, basic or extended, to the day, hour, minute, second or beyond. As in Pydantic, a
 * space can replace the `T` (RFC 3339, section 5.6), and 24:00 and leap seconds are refused. The parser is
 * hand-written: a regular expression takes three times as long.
 *
 * @see https://docs.pydantic.dev/latest/api/standard_library_types/#datetimedatetime
 */
export function parseTimestamp(input: string | number): string | TimestampError {
  return typeof input === "number" ? fromEpoch(input) : fromIso(input)
}

/** Writes a `Date` in the format of `parseTimestamp`. */
export function instantText(instant: Date): string {
  return instant.toISOString().replace("Z", "000Z")
}

function fromEpoch(epoch: number): string | TimestampError {
  const unitsASecond = Math.abs(epoch) > LARGEST_EPOCH_SECONDS ? 1000 : 1
  const seconds = Math.floor(epoch / unitsASecond)
  const micros = Math.round(((epoch - seconds * unitsASecond) * MICROS_A_SECOND) / unitsASecond)
  const days = Math.floor(seconds / SECONDS_A_DAY)
  return utcText(days, (seconds - days * SECONDS_A_DAY) * MICROS_A_SECOND + micros)
}

/**
 * A parsed number, or the reason why there is none. The reasons have the words of speedate, Pydantic's
 * parser.
 */
type Reading = number | string

function fromIso(text: string): string | TimestampError {
  const days = readDate(text)
  if (typeof days === "string") return notIso(text, days)
  const dateEnd = text[4] === "-" ? 10 : 8
  if (text.length === dateEnd) return utcText(days, 0)
  const separator = text[dateEnd]
  if (separator !== "T" && separator !== " " && separator !== "t")
    return notIso(text, "invalid datetime separator, expected `T`, `t` or space")

  const timeEnd = zoneStart(text, dateEnd + 1)
  const micros = readTime(text, dateEnd + 1, timeEnd)
  if (typeof micros === "string") return notIso(text, micros)
  const offsetMinutes = readOffset(text, timeEnd)
  if (typeof offsetMinutes === "string") return notIso(text, offsetMinutes)

  // Most times are already in extended form and in UTC, so their characters are copied.
  if (offsetMinutes === 0 && dateEnd === 10 && text[13] === ":" && timeEnd >= 19 && days >= FIRST_DAY)
    return `${text.slice(0, 10)}T${text.slice(11, 19)}.${text.slice(20, Math.min(26, timeEnd)).padEnd(6, "0")}Z`
  return utcText(days, micros - offsetMinutes * 60 * MICROS_A_SECOND)
}

/** Days since 1970-01-01. */
function readDate(text: string): Reading {
  if (text.length < "20250115".length) return "input is too short"
  const century = twoDigits(text, 0)
  const yearOfCentury = twoDigits(text, 2)
  if (century < 0 || yearOfCentury < 0) return "invalid character in year"
  const dash = text[4] === "-" ? 1 : 0
  const month = twoDigits(text, 4 + dash)
  if (month < 0) return "invalid character in month"
  if (dash && text[7] !== "-") return "invalid date separator, expected `-`"
  const day = twoDigits(text, 6 + 2 * dash)
  if (day < 0) return noDigits(text, 6 + 2 * dash, "day")
  const year = century * 100 + yearOfCentury
  if (month < 1 || month > 12) return "month value is outside expected range of 1-12"
  if (day < 1 || day > daysIn(year, month)) return "day value is outside expected range"
  return daysSinceEpoch(year, month, day)
}

/** Microseconds since midnight. */
function readTime(text: string, start: number, end: number): Reading {
  const hour = twoDigits(text, start)
  if (hour < 0) return noDigits(text, start, "hour")
  if (hour > 23) return "hour value is outside expected range of 0-23"
  if (start + 2 === end) return hour * 3600 * MICROS_A_SECOND

  const colon = text[start + 2] === ":" ? 1 : 0
  const minuteStart = start + 2 + colon
  const minute = twoDigits(text, minuteStart)
  if (minute < 0) return noDigits(text, minuteStart, "minute")
  if (minute > 59) return "minute value is outside expected range of 0-59"
  if (minuteStart + 2 === end) return (hour * 60 + minute) * 60 * MICROS_A_SECOND

  if (colon && text[minuteStart + 2] !== ":") return "invalid time separator, expected `:`"
  const secondStart = minuteStart + 2 + colon
  const second = twoDigits(text, secondStart)
  if (second < 0) return noDigits(text, secondStart, "second")
  if (second > 59) return "second value is outside expected range of 0-59"
  const micros = readFraction(text, secondStart + 2, end)
  return typeof micros === "string" ? micros : ((hour * 60 + minute) * 60 + second) * MICROS_A_SECOND + micros
}

/** Microseconds; digits after the sixth are ignored. */
function readFraction(text: string, start: number, end: number): Reading {
  if (start === end) return 0
  if (text[start] !== "." && text[start] !== ",") return "invalid timezone sign"
  let micros = 0
  let worth = MICROS_A_SECOND / 10
  let at = start + 1
  for (; at < end; at++) {
    const digit = text.charCodeAt(at) - ZERO
    if (digit < 0 || digit > 9) break
    micros += digit * Math.floor(worth)
    worth /= 10
  }
  if (at === start + 1) return "second fraction digits missing after `.`"
  return at === end ? micros : "invalid timezone sign"
}

/** The index at which the offset begins; the end of the text when there is none. */
function zoneStart(text: string, from: number): number {
  for (let at = from; at < text.length; at++) {
    const character = text[at]
    if (character === "Z" || character === "+" || character === "-" || character === "z") return at
  }
  return text.length
}

/** The offset from UTC in minutes. */
function readOffset(text: string, start: number): Reading {
  if (start === text.length) return 0
  const sign = text[start]
  let end = start + 1
  let minutes = 0
  if (sign === "+" || sign === "-") {
    const hour = twoDigits(text, end)
    if (hour < 0) return "invalid timezone hour"
    end += 2
    if (end < text.length) {
      if (text[end] === ":") end++
      minutes = twoDigits(text, end)
      if (minutes < 0) return "invalid timezone minute"
      if (minutes > 59) return "timezone minute value is outside expected range of 0-59"
      end += 2
    }
    if (hour > 23) return "timezone offset must be less than 24 hours"
    minutes += hour * 60
  }
  if (end < text.length) return "unexpected extra characters at the end of the input"
  return sign === "-" ? -minutes : minutes
}

const ZERO = "0".charCodeAt(0)

/** The number of two digits; -1 when they are not digits. */
function twoDigits(text: string, at: number): number {
  const tens = text.charCodeAt(at) - ZERO
  const ones = text.charCodeAt(at + 1) - ZERO
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : -1
}

const noDigits = (text: string, at: number, name: string) =>
  at + 2 > text.length ? "input is too short" : `invalid character in ${name}`

function notIso(text: string, reason: string): TimestampError {
  const isEpoch = /^[+-]?\d+(?:\.\d*)?$/.test(text) && text.length !== "20250115".length
  return {
    kind: "shape",
    message: `Input should be a valid datetime or date, ${isEpoch ? "a Unix epoch is sent as a number, not as a string" : reason}`,
  }
}

function daysIn(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}

const MS_A_DAY = SECONDS_A_DAY * 1000

/** `Date.UTC` is not used, because it reads the years 0-99 as 1900-1999. */
const daysSinceEpoch = (year: number, month: number, day: number) =>
  new Date(0).setUTCFullYear(year, month - 1, day) / MS_A_DAY

/** An offset can move `microsOfDay` into the day before or after. */
function utcText(days: number, microsOfDay: number): string | TimestampError {
  const secondOfDay = Math.floor(microsOfDay / MICROS_A_SECOND)
  const micros = microsOfDay - secondOfDay * MICROS_A_SECOND
  const seconds = days * SECONDS_A_DAY + secondOfDay
  if (!(seconds >= FIRST_DAY * SECONDS_A_DAY && seconds < (LAST_DAY + 1) * SECONDS_A_DAY)) return OUT_OF_RANGE
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${String(micros).padStart(6, "0")}Z`
}
