import { open, readdir, readFile, rm } from "node:fs/promises"
import { join } from "node:path"
import type { NewSignal } from "../api/types.ts"
import { type DamagedLine, decodeLines, type Range } from "./lines.ts"

/** A file of the spool. */
export interface Segment {
  path: string
  bytes: number
  /** How many of its lines are still needed. */
  open: number
  /** The range of signals in the file; undefined while it has none. */
  signals: Range | undefined
  /** The ranges that its lines mark as done. */
  done: Range[]
}

export interface Kept {
  sequence: number
  signal: NewSignal
  segment: Segment
}

/** `segments` has one entry for each line of the batch. */
export interface KeptBatch {
  ranges: Range[]
  signals: Kept[]
  segments: Segment[]
  /** A signal of the batch is on a damaged line. */
  isDamaged: boolean
}

export interface SpoolState {
  nextFile: number
  nextSequence: number
  /** Oldest first. */
  segments: Segment[]
  /** Signals that are in no batch, oldest first. */
  loose: Kept[]
  batches: Map<string, KeptBatch>
  damaged: DamagedLine[]
}

export const newSegment = (path: string): Segment => ({
  path,
  bytes: 0,
  open: 0,
  signals: undefined,
  done: [],
})

export const pathOf = (folder: string, file: number): string =>
  join(folder, `${String(file).padStart(9, "0")}.spool`)

/** Reads the signals and batches of a folder that are not done. */
export async function readSpool(folder: string): Promise<SpoolState> {
  const names = (await readdir(folder)).filter((name) => /^\d{9,15}\.spool$/.test(name)).sort()
  const state: SpoolState = {
    nextFile: 1,
    nextSequence: 1,
    segments: [],
    loose: [],
    batches: new Map(),
    damaged: [],
  }
  const signals: Kept[] = []
  const cuts = new Map<string, Cut>()
  for (const name of names) {
    const segment = newSegment(join(folder, name))
    state.segments.push(segment)
    state.nextFile = Math.max(state.nextFile, Number.parseInt(name, 10) + 1)
    const bytes = await readFile(segment.path)
    segment.bytes = bytes.length
    const { entries, damaged } = decodeLines(segment.path, bytes)
    state.damaged.push(...damaged)
    for (const entry of entries) {
      if ("signal" in entry) {
        signals.push({ ...entry, segment })
        noteSignal(segment, entry.sequence)
      } else if ("cut" in entry) cuts.set(entry.cut, { ...entry, segment })
      else
        segment.done.push(...(entry.ranges.length > 0 ? entry.ranges : (cuts.get(entry.done)?.ranges ?? [])))
    }
  }
  const done = state.segments.flatMap((segment) => segment.done)
  const cut = [...cuts.values()].flatMap(({ ranges }) => ranges)
  for (const [, to] of [
    ...state.segments.flatMap((segment) => (segment.signals ? [segment.signals] : [])),
    ...done,
    ...cut,
  ])
    state.nextSequence = Math.max(state.nextSequence, to + 1)
  sortOut(state, signals, [...cuts.values()], done)
  return state
}

type Cut = { cut: string; ranges: Range[]; count: number; segment: Segment }

/** Sorts signals into those that are done, those of batches, and loose ones. */
function sortOut(state: SpoolState, signals: Kept[], cuts: Cut[], done: Range[]): void {
  signals.sort((one, other) => one.sequence - other.sequence)
  const isDone = rangeFinder(done.map((range) => ({ range })))
  const cutOf = rangeFinder(cuts.flatMap((cut) => cut.ranges.map((range) => ({ range, cut }))))
  for (const kept of signals) {
    if (isDone(kept.sequence)) continue
    kept.segment.open++
    const found = cutOf(kept.sequence)
    if (found) addToBatch(state.batches, found.cut, kept)
    else state.loose.push(kept)
  }
  for (const { cut, count } of cuts) {
    const batch = state.batches.get(cut)
    if (batch) batch.isDamaged = batch.signals.length < count
  }
}

function addToBatch(batches: SpoolState["batches"], { cut, ranges, segment }: Cut, kept: Kept): void {
  const batch = batches.get(cut)
  if (batch) {
    batch.signals.push(kept)
    batch.segments.push(kept.segment)
    return
  }
  // The line of the batch is needed as long as its signals are: without it they would be in no batch.
  segment.open++
  batches.set(cut, { ranges, signals: [kept], segments: [kept.segment, segment], isDamaged: false })
}

/** Finds the range that holds a number. Two ranges are equal or do not overlap. */
function rangeFinder<Found extends { range: Range }>(ranges: Found[]): (number: number) => Found | undefined {
  const sorted = [...ranges].sort((one, other) => one.range[0] - other.range[0])
  return (number) => {
    let low = 0
    let high = sorted.length - 1
    while (low <= high) {
      const middle = (low + high) >> 1
      const found = sorted[middle] as Found
      if (number < found.range[0]) high = middle - 1
      else if (number > found.range[1]) low = middle + 1
      else return found
    }
  }
}

/** Notes that a segment has a signal. */
export function noteSignal(segment: Segment, sequence: number): void {
  const [from, to] = segment.signals ?? [sequence, sequence]
  segment.signals = [Math.min(from, sequence), Math.max(to, sequence)]
}

/**
 * The `done` ranges of a segment that must be kept when it is removed: without them, signals of other
 * segments would be sent again.
 */
export function neededDone(segment: Segment, segments: readonly Segment[]): Range[] {
  const others = segments.flatMap((other) => (other !== segment && other.signals ? [other.signals] : []))
  return segment.done.filter(([from, to]) => others.some((signals) => from <= signals[1] && signals[0] <= to))
}

/** Makes new and removed names of a folder durable. Windows has no such call. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return
  const handle = await open(folder, "r")
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

export const removeFile = (path: string): Promise<void> => rm(path, { force: true })
