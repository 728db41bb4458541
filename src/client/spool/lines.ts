import { crc32 } from "node:zlib"
import type { NewSignal } from "../api/types.ts"
import { encodeJson as toJson } from "../base/encode.ts"

/** Numbers of signals, both ends included. */
export type Range = [from: number, to: number]

/**
 * A line of a spool's file: an accepted signal; a batch, with the ranges of its signals and their count; or
 * the ranges of signals that are done. A `done` line repeats the ranges, so that it does not depend on the
 * line of its batch.
 */
export type Entry =
  | { sequence: number; signal: NewSignal }
  | { cut: string; ranges: Range[]; count: number }
  | { done: string; ranges: Range[] }

/** Lines of version 0.1.0, which had no checksum, and `from` and `to` instead of ranges. */
type FormerEntry = { cut: string; from: number; to: number } | { done: string }

/** A line whose bytes have changed since they were written. */
export interface DamagedLine {
  path: string
  /** From 1. */
  line: number
  /** The line as it is now. */
  text: string
}

/** Writes JSON after its CRC-32, by which a reader finds a damaged line. */
export function encodeLine(entry: Entry): Buffer {
  const json = toJson(entry)
  return Buffer.from(`${checksum(json)} ${json}\n`)
}

/**
 * Reads a file of the spool. Text after the last line break is a line that a crash left incomplete; its
 * signal was never accepted.
 */
export function decodeLines(path: string, bytes: Buffer): { entries: Entry[]; damaged: DamagedLine[] } {
  const lines = bytes.toString("utf8").split("\n")
  const entries: Entry[] = []
  const damaged: DamagedLine[] = []
  for (const [place, text] of lines.entries()) {
    if (text === "") continue
    const found = splitLine(text).map(decodePart)
    entries.push(...found.filter((entry) => entry !== undefined))
    if (found.includes(undefined) && place < lines.length - 1) damaged.push({ path, line: place + 1, text })
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
  const [, sum, json = line] = /^([0-9a-f]{8}) (.*)$/s.exec(line) ?? []
  if (sum !== undefined && sum !== checksum(json)) return undefined
  try {
    const entry: unknown = JSON.parse(json, restoreBigint)
    return typeof entry === "object" && entry !== null ? upgraded(entry as Entry | FormerEntry) : undefined
  } catch {
    return undefined
  }
}

function upgraded(entry: Entry | FormerEntry): Entry {
  if ("signal" in entry || "ranges" in entry) return entry
  return "cut" in entry
    ? { cut: entry.cut, ranges: [[entry.from, entry.to]], count: 0 }
    : { done: entry.done, ranges: [] }
}

const checksum = (json: string): string => crc32(json).toString(16).padStart(8, "0")

/**
 * Restores a bigint: an integer that a double cannot hold. A runtime without `source` cannot have written
 * one.
 */
function restoreBigint(_: string, value: unknown, context?: { source?: string }): unknown {
  const { source } = context ?? {}
  return typeof value === "number" &&
    source !== undefined &&
    !Number.isSafeInteger(value) &&
    /^-?\d+$/.test(source)
    ? BigInt(source)
    : value
}
