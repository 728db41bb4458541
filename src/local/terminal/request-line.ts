import { styleText } from "node:util"

/** The fields of a log line that are shown. */
interface LogLine {
  event?: unknown
  method?: unknown
  route?: unknown
  status?: unknown
  ms?: unknown
  [field: string]: unknown
}

/** Routes for programs. `npm start` itself calls one every 100 ms while it waits for the service. */
const PROBES = ["/healthz", "/readyz"]

/** The steps of the sweep, and the sweep itself when it fails as a whole. */
const SWEEP_EVENTS = ["scheduled", "bucket_swept", "expired_keys_released"]

/**
 * Successful reads of a route are shown once in this time, so that an open dashboard does not fill the
 * terminal.
 */
const READS_SHOWN_EVERY_MS = 60_000

/** The words for the counts of a log line, in the order in which they are shown. */
const COUNTS: [field: string, one: string, several: string][] = [
  ["total", "signal", "signals"],
  ["messages", "message", "messages"],
  ["stored", "stored", "stored"],
  ["failed", "failed", "failed"],
  ["duplicates", "duplicate", "duplicates"],
  ["skipped", "skipped", "skipped"],
]

type Style = Parameters<typeof styleText>[0]

/** Adds colours if the output is a terminal and NO_COLOR is not set. */
const paint = (style: Style, text: string) => styleText(style, text, { stream: process.stdout })

/** Turns the JSON lines of the Worker's log into short lines for a terminal. */
export class RequestLines {
  readonly #shownAt = new Map<string, number>()

  /**
   * @param now milliseconds since the epoch
   * @returns the line to show: short for a request, a run of the consumer or a step of the sweep, unchanged
   *   for any other line;
   *   undefined for a repeated read, a probe, and a step of the sweep that had nothing to do
   */
  show(line: string, now: number): string | undefined {
    const entry = read(line)
    if (entry?.event === "consumed") return consumedLine(entry, now)
    if (SWEEP_EVENTS.includes(String(entry?.event))) return entry && sweepLine(entry, now)
    if (entry?.event !== "request") return line
    if (PROBES.includes(String(entry.route))) return undefined
    return this.#repeats(entry, now) ? undefined : requestLine(entry, now)
  }

  #repeats({ method, route, status }: LogLine, now: number): boolean {
    if (method !== "GET" || Number(status) >= 400) return false
    const name = `${route}`
    const shownAt = this.#shownAt.get(name)
    if (shownAt !== undefined && now - shownAt < READS_SHOWN_EVERY_MS) return true
    this.#shownAt.set(name, now)
    return false
  }
}

function read(line: string): LogLine | undefined {
  if (!line.startsWith("{")) return undefined
  try {
    return JSON.parse(line) as LogLine
  } catch {
    return undefined
  }
}

function requestLine(entry: LogLine, now: number): string {
  const status = Number(entry.status)
  const style: Style = status < 400 ? "green" : status < 500 ? "yellow" : "red"
  const marks = ["queued", "replayed"].filter((mark) => entry[mark] === true)
  const name = `${entry.method} ${entry.route}`
  return joined(
    now,
    paint(style, String(entry.status)),
    name,
    [...counts(entry), ...marks, ...errorOf(entry)],
    entry.ms,
  )
}

const consumedLine = (entry: LogLine, now: number) =>
  joined(
    now,
    paint(entry.error ? "red" : "cyan", "···"),
    `queue ${entry.queue}`,
    [...counts(entry), ...errorOf(entry)],
    entry.ms,
  )

function sweepLine(entry: LogLine, now: number): string | undefined {
  const { event, count, error: failed } = entry
  if (failed === undefined && !(Number(count) > 0)) return undefined
  const details = failed === undefined ? [String(count)] : errorOf(entry)
  return joined(now, paint(failed === undefined ? "cyan" : "red", "···"), `sweep ${event}`, details, entry.ms)
}

const counts = (entry: LogLine) =>
  COUNTS.flatMap(([field, one, several]) => {
    const count = Number(entry[field] ?? 0)
    return count > 0 ? [`${count} ${count === 1 ? one : several}`] : []
  })

const errorOf = ({ error }: LogLine) => (typeof error === "string" ? [paint("red", error)] : [])

function joined(now: number, mark: string, name: string, details: string[], ms: unknown): string {
  const time = paint("dim", new Date(now).toTimeString().slice(0, 8))
  return [
    time,
    mark,
    name.padEnd(32),
    ...(details.length > 0 ? [details.join(", ")] : []),
    paint("dim", `${ms} ms`),
  ].join("  ")
}
