import { readdir, readFile, rm } from "node:fs/promises"
import { join } from "node:path"
import type { NewSignal } from "../types.ts"

/** A line: a signal was accepted; those from one number to another are a batch; a batch is done. */
export type Entry = { sequence: number; signal: NewSignal } | { cut: string; from: number; to: number } | { done: string }

/** A file of the spool. */
export interface Segment {
  path: string
  bytes: number
  /** How many of its lines are still needed. */
  open: number
}

export interface Kept {
  sequence: number
  signal: NewSignal
  segment: Segment
}

export interface SpoolState {
  nextFile: number
  nextSequence: number
  /** Oldest first. */
  loose: Kept[]
  /** By key; `segments` are those of its signals and of the line that made it a batch, one entry a line. */
  batches: Map<string, { signals: Kept[]; segments: Segment[] }>
}

/** What the files of a folder say that is not done. Files in which nothing is needed any more are removed. */
export async function readSpool(folder: string): Promise<SpoolState> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".spool")).sort()
  const state: SpoolState = { nextFile: 1, nextSequence: 1, loose: [], batches: new Map() }
  const signals: Kept[] = []
  const cuts = new Map<string, { from: number; to: number; segment: Segment }>()
  const segments: Segment[] = []
  for (const name of names) {
    const segment: Segment = { path: join(folder, name), bytes: 0, open: 0 }
    segments.push(segment)
    state.nextFile = Math.max(state.nextFile, Number.parseInt(name, 10) + 1)
    for (const line of (await readFile(segment.path, "utf8")).split("\n")) {
      const entry = readEntry(line)
      if (!entry) continue
      if ("signal" in entry) signals.push({ ...entry, segment })
      else if ("cut" in entry) cuts.set(entry.cut, { from: entry.from, to: entry.to, segment })
      else cuts.set(entry.done, { ...(cuts.get(entry.done) ?? { from: 0, to: 0, segment }), segment: DONE })
      const last = "sequence" in entry ? entry.sequence : "to" in entry ? entry.to : 0
      state.nextSequence = Math.max(state.nextSequence, last + 1)
    }
  }
  signals.sort((one, other) => one.sequence - other.sequence)
  const ranges = [...cuts].map(([key, range]) => ({ key, ...range }))
  const bySequence = sortedFinder(ranges)
  for (const kept of signals) {
    const range = bySequence(kept.sequence)
    if (range?.segment === DONE) continue
    kept.segment.open++
    if (range) add(state.batches, range.key, kept, range.segment)
    else state.loose.push(kept)
  }
  for (const { path, open } of segments) if (open === 0) await rm(path, { force: true })
  return state
}

/** Stands for the file of a batch that is done. */
const DONE: Segment = { path: "", bytes: 0, open: 0 }

function add(batches: SpoolState["batches"], key: string, kept: Kept, cutIn: Segment): void {
  const batch = batches.get(key)
  if (batch) {
    batch.signals.push(kept)
    batch.segments.push(kept.segment)
    return
  }
  cutIn.open++
  batches.set(key, { signals: [kept], segments: [kept.segment, cutIn] })
}

/** Finds the range that a number is in; they don't overlap. */
function sortedFinder<Range extends { from: number; to: number }>(ranges: Range[]): (number: number) => Range | undefined {
  const sorted = [...ranges].sort((one, other) => one.from - other.from)
  return (number) => {
    let low = 0
    let high = sorted.length - 1
    while (low <= high) {
      const middle = (low + high) >> 1
      const range = sorted[middle] as Range
      if (number < range.from) high = middle - 1
      else if (number > range.to) low = middle + 1
      else return range
    }
  }
}

/** Undefined for a line that is not whole: a crash left it so, before it was accepted. */
function readEntry(line: string): Entry | undefined {
  try {
    return JSON.parse(line, restoreBigint) as Entry
  } catch {
    return undefined
  }
}

/** A whole number that a double can't carry was a bigint; where the runtime does not tell its digits, none was written. */
function restoreBigint(_: string, value: unknown, context?: { source?: string }): unknown {
  const { source } = context ?? {}
  return typeof value === "number" && source !== undefined && !Number.isSafeInteger(value) && /^-?\d+$/.test(source)
    ? BigInt(source)
    : value
}
