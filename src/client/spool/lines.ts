import { crc32 } from "node:zlib"

/** Numbers of signals, both ends included. */
export type Range = [from: number, to: number]

/**
 * A line of a spool's file: an accepted signal, as the JSON that is sent; a batch, with the ranges of its
 * signals, their count and the caller under which it is sent; or the ranges of signals that are done. A
 * `done` line repeats the ranges, so that it does not depend on the line of its batch.
 */
export type Entry =
  | { sequence: number; signal: string }
  | { cut: string; ranges: Range[]; count: number; caller: string }
  | { done: string; ranges: Range[] }

/** Where a line is in its file, in bytes; its line break is at `to`. */
export interface Span {
  from: number
  to: number
}

/** A line whose bytes have changed since they were written. */
export interface DamagedLine {
  path: string
  /** From 1. */
  line: number
  /** The line as it is now. */
  text: string
}

const LINE_FEED = 10
const SEQUENCE = '{"sequence":'
const SIGNAL = ',"signal":'

/** Writes JSON after its CRC-32, by which a reader finds a damaged line. */
export function encodeLine(entry: Entry): Buffer {
  // The signal's own text, byte for byte: what is on disk is what is sent.
  const json =
    "signal" in entry ? `${SEQUENCE}${entry.sequence}${SIGNAL}${entry.signal}}` : JSON.stringify(entry)
  return Buffer.from(`${checksum(json)} ${json}\n`)
}

/**
 * Reads lines of a file of the spool. Text after the last line break is a line that a crash left incomplete;
 * its signal was never accepted.
 */
export function decodeLines(
  path: string,
  bytes: Buffer,
): { entries: (Entry & Span)[]; damaged: DamagedLine[] } {
  const entries: (Entry & Span)[] = []
  const damaged: DamagedLine[] = []
  for (let from = 0, line = 1; from < bytes.length; line++) {
    const end = bytes.indexOf(LINE_FEED, from)
    const to = end === -1 ? bytes.length : end
    const text = bytes.toString("utf8", from, to)
    if (text !== "") {
      const found = splitLine(text).map(decodePart)
      for (const entry of found) if (entry) entries.push({ ...entry, from, to })
      if (found.includes(undefined) && end !== -1) damaged.push({ path, line, text })
    }
    from = to + 1
  }
  return { entries, damaged }
}

/**
 * Splits a text into lines again where a damaged line break joined them. Each line begins with its checksum.
 */
function splitLine(text: string): string[] {
  if (decode(text)) return [text]
  const starts = [...text.matchAll(/[0-9a-f]{8} (?=\{")/g)]
    .map(({ index }) => index)
    .filter((index) => index > 0)
  return [0, ...starts].map((start, place) => text.slice(start, starts[place]))
}

/** A line before a damaged line break ends with the byte that replaced the break. */
const decodePart = (part: string): Entry | undefined => decode(part) ?? decode(part.slice(0, -1))

function decode(line: string): Entry | undefined {
  const [, sum, json = ""] = /^([0-9a-f]{8}) (.*)$/s.exec(line) ?? []
  if (sum !== checksum(json)) return undefined
  try {
    if (json.startsWith(SEQUENCE)) return signalOf(json)
    const entry: unknown = JSON.parse(json)
    return typeof entry === "object" && entry !== null ? (entry as Entry) : undefined
  } catch {
    return undefined
  }
}

function signalOf(json: string): Entry | undefined {
  const at = json.indexOf(SIGNAL)
  const sequence = Number(json.slice(SEQUENCE.length, at))
  return at > 0 && json.endsWith("}") && Number.isSafeInteger(sequence)
    ? { sequence, signal: json.slice(at + SIGNAL.length, -1) }
    : undefined
}

const checksum = (json: string): string => crc32(json).toString(16).padStart(8, "0")
