import { crc32 } from "node:zlib"
import { toJson } from "../json.ts"
import type { NewSignal } from "../types.ts"

/** Numbers of signals, both ends included. */
export type Range = [from: number, to: number]

/**
 * A line of a spool's file: a signal was accepted; the signals of some ranges are a batch, `count` in all; the signals of some ranges
 * are done. A `done` line has its ranges, so that it counts without the line of its batch.
 */
export type Entry =
  | { sequence: number; signal: NewSignal }
  | { cut: string; ranges: Range[]; count: number }
  | { done: string; ranges: Range[] }

/** Lines of version 0.1.0, which had no checksum, and `from` and `to` for the ranges. */
type FormerEntry = { cut: string; from: number; to: number } | { done: string }

/** A line whose bytes are no longer those that were written. */
export interface DamagedLine {
  path: string
  /** From 1. */
  line: number
  /** What is left of the line. */
  text: string
}

/** JSON behind its CRC-32, by which a reader finds a damaged line. */
export function encodeLine(entry: Entry): Buffer {
  const json = toJson(entry)
  return Buffer.from(`${checksum(json)} ${json}\n`)
}

/** Reads a file of the spool. A text after the last line break is a line that a crash left incomplete; it was never accepted. */
export function decodeLines(path: string, bytes: Buffer): { entries: Entry[]; damaged: DamagedLine[] } {
  const lines = bytes.toString("utf8").split("\n")
  const entries: Entry[] = []
  const damaged: DamagedLine[] = []
  for (const [place, text] of lines.entries()) {
    if (text === "") continue
    const found = piecesOf(text).map(decodePiece)
    entries.push(...found.filter((entry) => entry !== undefined))
    if (found.includes(undefined) && place < lines.length - 1) damaged.push({ path, line: place + 1, text })
  }
  return { entries, damaged }
}

/** Usually the line itself. A damaged line break joins two lines into one text: each begins with its checksum. */
function piecesOf(text: string): string[] {
  if (decode(text)) return [text]
  const starts = [...text.matchAll(/[0-9a-f]{8} (?=\{")/g)].map(({ index }) => index).filter((index) => index > 0)
  return [0, ...starts].map((start, place) => text.slice(start, starts[place]))
}

/** The piece before a damaged line break ends with what the break has become. */
const decodePiece = (piece: string): Entry | undefined => decode(piece) ?? decode(piece.slice(0, -1))

function decode(line: string): Entry | undefined {
  const [, sum, json = line] = /^([0-9a-f]{8}) (.*)$/s.exec(line) ?? []
  if (sum !== undefined && sum !== checksum(json)) return undefined
  try {
    const entry: unknown = JSON.parse(json, restoreBigint)
    return typeof entry === "object" && entry !== null ? modern(entry as Entry | FormerEntry) : undefined
  } catch {
    return undefined
  }
}

function modern(entry: Entry | FormerEntry): Entry {
  if ("signal" in entry || "ranges" in entry) return entry
  return "cut" in entry ? { cut: entry.cut, ranges: [[entry.from, entry.to]], count: 0 } : { done: entry.done, ranges: [] }
}

const checksum = (json: string): string => crc32(json).toString(16).padStart(8, "0")

/** A whole number that a double cannot carry was a bigint; a runtime that does not give its digits has written none. */
function restoreBigint(_: string, value: unknown, context?: { source?: string }): unknown {
  const { source } = context ?? {}
  return typeof value === "number" && source !== undefined && !Number.isSafeInteger(value) && /^-?\d+$/.test(source)
    ? BigInt(source)
    : value
}
