import { open, readdir, readFile, rm } from "node:fs/promises"
import { join } from "node:path"
import { type DamagedLine, decodeLines, type Range, type Span } from "./lines.ts"

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

/** A signal on disk: its number, and where its line is. */
export interface Kept extends Span {
  sequence: number
  segment: Segment
}

/** A part of a file from the first to the last line of a batch, with how many of its signals are there. */
export interface Extent extends Span {
  segment: Segment
  lines: number
}

/** A batch on disk. */
export interface KeptBatch {
  ranges: Range[]
  /** How many signals it was made of. */
  count: number
  caller: string
  extents: Extent[]
  /** The file with the line of the batch. */
  cutIn: Segment
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

type Cut = Omit<KeptBatch, "extents"> & { key: string }

/**
 * Reads where the signals and batches of a folder are that are not done. Only one file at a time is in
 * memory.
 */
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
        const { sequence, from, to } = entry
        signals.push({ sequence, from, to, segment })
        noteSignal(segment, sequence)
      } else if ("cut" in entry) {
        const { cut: key, ranges, count, caller } = entry
        cuts.set(key, { key, ranges, count, caller, cutIn: segment })
      } else
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

/** Sorts signals into those that are done, those of batches, and loose ones. */
function sortOut(state: SpoolState, signals: Kept[], cuts: Cut[], done: Range[]): void {
  signals.sort((a, b) => a.sequence - b.sequence)
  const isDone = rangeFinder(done.map((range) => ({ range })))
  const cutOf = rangeFinder(cuts.flatMap((cut) => cut.ranges.map((range) => ({ range, cut }))))
  for (const kept of signals) {
    if (isDone(kept.sequence)) continue
    kept.segment.open++
    const found = cutOf(kept.sequence)
    if (found) addToBatch(state.batches, found.cut, kept)
    else state.loose.push(kept)
  }
}

function addToBatch(batches: SpoolState["batches"], { key, ...cut }: Cut, kept: Kept): void {
  const batch = batches.get(key)
  if (batch) {
    batch.extents = extend(batch.extents, kept)
    return
  }
  // The line of the batch is needed as long as its signals are: without it they would be in no batch.
  cut.cutIn.open++
  batches.set(key, { ...cut, extents: extend([], kept) })
}

/** Adds a signal to the extents of its batch; returns them. */
export function extend(extents: Extent[], { segment, from, to }: Kept): Extent[] {
  const extent = extents.find((one) => one.segment === segment)
  if (!extent) return [...extents, { segment, from, to, lines: 1 }]
  extent.from = Math.min(extent.from, from)
  extent.to = Math.max(extent.to, to)
  extent.lines++
  return extents
}

/** Finds the range that holds a number. Two ranges are equal or do not overlap. */
function rangeFinder<Found extends { range: Range }>(ranges: Found[]): (number: number) => Found | undefined {
  const sorted = [...ranges].sort((a, b) => a.range[0] - b.range[0])
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

/** Reads the signals of a batch, in their order. A line that has been damaged since is left out. */
export async function readSignals({
  ranges,
  extents,
}: Pick<KeptBatch, "ranges" | "extents">): Promise<string[]> {
  const found: { sequence: number; signal: string }[] = []
  for (const { segment, from, to } of extents) {
    // With the line break: without it the last line would be an incomplete one.
    const bytes = await readBytes(segment.path, from, to + 1)
    for (const entry of decodeLines(segment.path, bytes).entries)
      if (
        "signal" in entry &&
        ranges.some(([first, last]) => first <= entry.sequence && entry.sequence <= last)
      )
        found.push(entry)
  }
  return found.sort((a, b) => a.sequence - b.sequence).map(({ signal }) => signal)
}

async function readBytes(path: string, from: number, to: number): Promise<Buffer> {
  const file = await open(path, "r")
  try {
    const bytes = Buffer.alloc(to - from)
    const { bytesRead } = await file.read(bytes, 0, bytes.length, from)
    return bytes.subarray(0, bytesRead)
  } finally {
    await file.close()
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
