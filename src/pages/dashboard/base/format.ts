/** Formats of numbers and times, in the viewer's language and zone. */

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 })
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumSignificantDigits: 3 })
const short = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 })
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 2 })
const sizes = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"].map(
  (unit) => new Intl.NumberFormat(undefined, { style: "unit", unit, maximumSignificantDigits: 3 }),
)
const score = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 })

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" })
const dayAndClock = new Intl.DateTimeFormat(undefined, {
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
})
const yearDayAndClock = new Intl.DateTimeFormat(undefined, {
  dateStyle: "medium",
  timeStyle: "short",
  hourCycle: "h23",
})
const tick = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" })
const dayTick = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" })

export const NONE = "–"

const orNone =
  (show: (value: number) => string) =>
  (value: number | null | undefined): string =>
    value === null || value === undefined ? NONE : show(value)

export const count = orNone((value) => (value < 100_000 ? whole : compact).format(value))
export const rate = orNone((value) => {
  if (value > 0 && value < 0.001) return `< ${short.format(0.001)}`
  return (value < 1000 ? short : compact).format(value)
})
export const share = orNone((value) => percent.format(value))
export const points = orNone((value) => score.format(value))
export const bytes = orNone((value) => {
  const step = Math.min(sizes.length - 1, Math.floor(Math.log10(Math.max(1, value)) / 3))
  return sizes[step]?.format(value / 1000 ** step) ?? NONE
})
export const duration = orNone((ms) =>
  ms < 1000 ? `${short.format(ms)} ms` : `${short.format(ms / 1000)} s`,
)

const isToday = (date: Date) => date.toDateString() === new Date().toDateString()

/** A time in the viewer's zone: of today with its seconds, of another day with its date. */
export function moment(date: Date): string {
  if (isToday(date)) return clock.format(date)
  return (date.getFullYear() === new Date().getFullYear() ? dayAndClock : yearDayAndClock).format(date)
}

/** The viewer's offset from UTC at a time, such as `+02:00`. */
function offsetAt(date: Date): string {
  const minutes = -date.getTimezoneOffset()
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60]
  return `${minutes < 0 ? "-" : "+"}${String(hours).padStart(2, "0")}:${String(rest).padStart(2, "0")}`
}

/** A time in the viewer's zone with everything that is stored: date, every digit of the second, offset. */
export function fullTime(instant: string): string {
  const date = new Date(instant)
  const local = new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString()
  const fraction = /\.\d+/.exec(instant)?.[0] ?? ""
  return `${local.slice(0, 10)} ${local.slice(11, 19)}${fraction} ${offsetAt(date)}`
}

/** The viewer's zone in words. */
export const zone = (): string =>
  `${new Intl.DateTimeFormat().resolvedOptions().timeZone} (UTC${offsetAt(new Date())})`

/** The time in a UUIDv7, in milliseconds. The ledger is sorted by it. */
export const timeOfId = (uuid: string): string =>
  new Date(Number.parseInt(uuid.replaceAll("-", "").slice(0, 12), 16)).toISOString()

/** The time at a tick of an axis whose ticks are `stepSeconds` apart. */
export function axisTime(date: Date, stepSeconds: number): string {
  if (stepSeconds < 60) return clock.format(date)
  const isDay = stepSeconds >= 86_400 || (date.getHours() === 0 && date.getMinutes() === 0)
  return (isDay ? dayTick : tick).format(date)
}

const STEPS_AT_LEAST = 8

/**
 * The range of a chart's time axis, for times in seconds. It has several steps at least: around a single
 * step, uPlot would show years.
 */
export function axisSpan(times: ArrayLike<number>, stepSeconds: number): [number, number] {
  const first = times[0] ?? 0
  return [first, Math.max(times[times.length - 1] ?? 0, first + STEPS_AT_LEAST * stepSeconds)]
}
