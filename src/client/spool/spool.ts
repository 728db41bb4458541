import { mkdir } from "node:fs/promises"
import { dirname, join, relative, resolve, sep } from "node:path"
import { callSafely, checkRange } from "../base/guards.ts"
import { lockReserveOf, Reserve } from "./disk.ts"
import {
  extend,
  type Kept,
  type KeptBatch,
  readSignals,
  readSpool,
  type Segment,
  type SpoolState,
  syncFolder,
} from "./files.ts"
import type { DamagedLine, Range } from "./lines.ts"
import { lockFolder } from "./lock.ts"
import type { Spool, SpooledBatch } from "./types.ts"
import { SegmentWriter } from "./writer.ts"

export type { DamagedLine } from "./lines.ts"
export type { Spool } from "./types.ts"

export interface SpoolOptions {
  /**
   * Bytes on disk beyond which no signal is accepted. Default: 256 MiB, from 1 MiB to 16 GiB.
   */
  maxBytes?: number | undefined
  /**
   * Free bytes of the disk below which no signal is accepted. Default: 1 MiB, from 0 to 1 TiB. The ends of
   * batches are noted below it, so that the spool empties itself on a full disk.
   */
  minFreeBytes?: number | undefined
  /**
   * Receives each damaged line. Its signal is lost; when a batch's line is lost, the service may store the
   * batch's signals twice. Default: a process warning.
   */
  onDamage?: ((damaged: DamagedLine) => void) | undefined
}

const DEFAULT_MAX_BYTES = 256 * 1024 ** 2
const DEFAULT_MIN_FREE_BYTES = 1024 ** 2
/** The writer starts a new file after this many bytes, so that old files can be removed. */
const SEGMENT_BYTES = 8 * 1024 ** 2

/**
 * Opens a spool in a folder, and creates the folder when it does not exist. Files are only appended to, and a
 * file is removed when all its signals are done. A line that a crash left incomplete is skipped: its signal
 * was never accepted. One process at a time can have the folder open, see `lockFolder`.
 *
 * @throws {Error} another process has the folder open, or it cannot be read or written
 * @throws {RangeError} `maxBytes` or `minFreeBytes` is out of its range
 *
 * @example
 * ```ts
 * const processor = new BatchProcessor(client, { spool: await openSpool("/var/lib/my-bridge/spool") })
 * ```
 */
export async function openSpool(folder: string, options: SpoolOptions = {}): Promise<Spool> {
  const maxBytes = checkRange("maxBytes", options.maxBytes ?? DEFAULT_MAX_BYTES, 1024 ** 2, 16 * 1024 ** 3)
  const minFreeBytes = checkRange(
    "minFreeBytes",
    options.minFreeBytes ?? DEFAULT_MIN_FREE_BYTES,
    0,
    1024 ** 4,
  )
  const path = resolve(folder)
  await makeFolder(path)
  const unlock = await lockFolder(path, `The spool ${path}`, { reserve: lockReserveOf(path) })
  try {
    const state = await readSpool(path)
    for (const damaged of state.damaged) callSafely(() => (options.onDamage ?? warn)(damaged))
    await new Reserve(path).restore()
    return new FileSpool(path, { maxBytes, minFreeBytes, state, unlock })
  } catch (error) {
    await unlock()
    throw error
  }
}

function warn({ path, line, text }: DamagedLine): void {
  process.emitWarning(`The spool skips a damaged line: ${path}, line ${line}: ${text.slice(0, 1000)}`)
}

/** Creates a folder durably: syncs the parent of each folder that is new. */
async function makeFolder(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true })
  if (first === undefined) return
  const below = relative(first, path)
  const made = ["", ...(below === "" ? [] : below.split(sep))]
  for (const place of made.keys()) await syncFolder(dirname(join(first, ...made.slice(0, place + 1))))
}

/** A batch that is done, and whose `done` line could not be written. */
interface Unnoted {
  ranges: Range[]
  cutIn: Segment
  signalsIn: Segment[]
  /** The line of the batch is no longer counted as open. */
  isReleased: boolean
}

class FileSpool implements Spool {
  readonly #folder: string
  readonly #maxBytes: number
  readonly #unlock: () => Promise<void>
  readonly #writer: SegmentWriter
  #recovered: SpoolState | undefined
  #nextSequence: number
  /** Signals that are in no batch, oldest first. */
  #loose: Kept[]
  /** By key. */
  readonly #batches: Map<string, KeptBatch>
  #unnoted: Unnoted[] = []
  #closed: Promise<void> | undefined

  constructor(
    folder: string,
    {
      maxBytes,
      minFreeBytes,
      state,
      unlock,
    }: { maxBytes: number; minFreeBytes: number; state: SpoolState; unlock: () => Promise<void> },
  ) {
    this.#folder = folder
    this.#maxBytes = maxBytes
    this.#unlock = unlock
    this.#writer = new SegmentWriter(folder, {
      segments: state.segments,
      nextFile: state.nextFile,
      segmentBytes: Math.min(SEGMENT_BYTES, maxBytes / 16),
      minFreeBytes,
    })
    this.#recovered = state
    this.#nextSequence = state.nextSequence
    this.#loose = state.loose
    this.#batches = state.batches
  }

  async recover(): Promise<{ batches: SpooledBatch[]; loose: string[] }> {
    const { batches = new Map<string, KeptBatch>(), loose = [] } = this.#recovered ?? {}
    this.#recovered = undefined
    const found = [...batches].map(([key, { extents, caller }]) => ({
      key,
      count: extents.reduce((sum, { lines }) => sum + lines, 0),
      bytes: extents.reduce((sum, { from, to }) => sum + to - from, 0),
      caller,
    }))
    const signals = await readSignals(batchOf(loose))
    await this.#writer.sweep()
    return { batches: found, loose: signals }
  }

  async append(signal: string): Promise<void> {
    this.#checkOpen()
    const { bytes } = this.#writer
    if (bytes >= this.#maxBytes)
      throw new Error(
        `The spool ${this.#folder} is full: it holds ${bytes} bytes, and its limit is ${this.#maxBytes} (maxBytes). It has room again when the service has stored its signals.`,
      )
    const sequence = this.#nextSequence++
    const written = await this.#writer.append({ sequence, signal })
    this.#loose.push({ sequence, ...written })
  }

  async cut(key: string, count: number, caller: string): Promise<void> {
    this.#checkOpen()
    const signals = this.#loose.splice(0, count)
    if (signals.length === 0) return
    const { ranges, extents } = batchOf(signals)
    try {
      const line = { cut: key, ranges, count: signals.length, caller }
      // The line must stay as long as its signals: without it they would not be in a batch.
      const { segment } = await this.#writer.append(line)
      this.#batches.set(key, { ranges, count: signals.length, caller, extents, cutIn: segment })
    } catch (error) {
      this.#loose = [...signals, ...this.#loose]
      throw error
    }
  }

  async read(key: string): Promise<{ signals: string[]; isDamaged: boolean }> {
    const batch = this.#batches.get(key)
    if (!batch) return { signals: [], isDamaged: false }
    const signals = await readSignals(batch)
    return { signals, isDamaged: signals.length < batch.count }
  }

  /** Never rejects because of the disk: the batch is done, and a line more or less does not change that. */
  async done(key: string): Promise<void> {
    this.#checkOpen()
    const batch = this.#batches.get(key)
    if (!batch) return
    const { ranges, extents, cutIn } = batch
    this.#batches.delete(key)
    const isNoted = await this.#note(ranges)
    for (const { segment, lines } of extents) segment.open -= lines
    if (isNoted) cutIn.open--
    else {
      const signalsIn = extents.map(({ segment }) => segment).filter((segment) => segment !== cutIn)
      this.#unnoted.push({ ranges, cutIn, signalsIn, isReleased: false })
    }
    await this.#writer.sweep()
    if (this.#unnoted.length > 0) await this.#noteRest()
  }

  close(): Promise<void> {
    this.#closed ??= this.#writer.close().finally(() => this.#unlock())
    return this.#closed
  }

  /** Writes a `done` line. @returns whether it is durable */
  #note(ranges: Range[]): Promise<boolean> {
    return this.#writer.append({ done: "", ranges }).then(
      () => true,
      () => false,
    )
  }

  /**
   * Writes the `done` lines that found no room. The line of a batch stays until then, or until the files of
   * its signals are gone: without it, they would be sent under another key.
   */
  async #noteRest(): Promise<void> {
    let changed = false
    const rest: Unnoted[] = []
    for (const one of this.#unnoted) {
      const isNeeded =
        this.#writer.has(one.cutIn) || one.signalsIn.some((segment) => this.#writer.has(segment))
      const isNoted = isNeeded && (await this.#note(one.ranges))
      const isFree = isNoted || !one.signalsIn.some((segment) => this.#writer.has(segment))
      if (isFree && !one.isReleased) {
        one.isReleased = true
        one.cutIn.open--
        changed = true
      }
      if (isNeeded && !isNoted) rest.push(one)
    }
    this.#unnoted = rest
    if (changed) await this.#writer.sweep()
  }

  #checkOpen(): void {
    if (this.#closed) throw new Error(`The spool ${this.#folder} is closed.`)
  }
}

/** The numbers of signals as ranges, and where they are. */
function batchOf(signals: readonly Kept[]): Pick<KeptBatch, "ranges" | "extents"> {
  return {
    ranges: rangesOf(signals.map(({ sequence }) => sequence)),
    extents: signals.reduce<KeptBatch["extents"]>(extend, []),
  }
}

/** Converts ascending numbers to ranges. A missing number starts a new range. */
function rangesOf(numbers: readonly number[]): Range[] {
  const ranges: Range[] = []
  for (const number of numbers) {
    const last = ranges.at(-1)
    if (last && number === last[1] + 1) last[1] = number
    else ranges.push([number, number])
  }
  return ranges
}
