import { mkdir } from "node:fs/promises"
import { dirname, join, relative, resolve, sep } from "node:path"
import type { NewSignal } from "../api/types.ts"
import { callSafely, checkRange } from "../base/guards.ts"
import { readSpool, type Segment, type SpoolState, syncFolder } from "./files.ts"
import type { DamagedLine, Range } from "./lines.ts"
import { lockFolder } from "./lock.ts"
import type { Spool, SpooledBatch } from "./types.ts"
import { SegmentWriter } from "./writer.ts"

export type { DamagedLine } from "./lines.ts"
export type { Spool, SpooledBatch } from "./types.ts"

export interface SpoolOptions {
  /**
   * Bytes on disk beyond which no signal is accepted. Default: 256 MiB, from 1 MiB to 16 GiB. A start reads
   * all of it into memory.
   */
  maxBytes?: number | undefined
  /**
   * Receives each damaged line. Its signal is lost; when a batch's line is lost, the service may store the
   * batch's signals twice. Default: a process warning.
   */
  onDamage?: ((damaged: DamagedLine) => void) | undefined
}

const DEFAULT_MAX_BYTES = 256 * 1024 ** 2
/** The writer starts a new file after this many bytes, so that old files can be removed. */
const SEGMENT_BYTES = 8 * 1024 ** 2

/**
 * Opens a spool in a folder, and creates the folder when it does not exist. Files are only appended to, and a
 * file is removed when all its signals are done. A line that a crash left incomplete is skipped: its signal
 * was never accepted. One process at a time can have the folder open, see `lockFolder`.
 *
 * @throws {Error} another process has the folder open, or it cannot be read or written
 * @throws {RangeError} `maxBytes` is out of its range
 *
 * @example
 * ```ts
 * const processor = new BatchProcessor(client, { spool: await openSpool("/var/lib/my-bridge/spool") })
 * ```
 */
export async function openSpool(folder: string, options: SpoolOptions = {}): Promise<Spool> {
  const maxBytes = checkRange("maxBytes", options.maxBytes ?? DEFAULT_MAX_BYTES, 1024 ** 2, 16 * 1024 ** 3)
  const path = resolve(folder)
  await makeFolder(path)
  const unlock = await lockFolder(path)
  try {
    const state = await readSpool(path)
    for (const damaged of state.damaged) callSafely(() => (options.onDamage ?? warn)(damaged))
    return new FileSpool(path, maxBytes, state, unlock)
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

class FileSpool implements Spool {
  readonly #folder: string
  readonly #maxBytes: number
  readonly #unlock: () => Promise<void>
  readonly #writer: SegmentWriter
  #recovered: SpoolState | undefined
  #nextSequence: number
  /** Signals that are in no batch, oldest first. */
  readonly #loose: { sequence: number; segment: Segment }[]
  /** By key; `segments` has one entry for each line of the batch. */
  readonly #batches = new Map<string, { ranges: Range[]; segments: Segment[] }>()
  #closed: Promise<void> | undefined

  constructor(folder: string, maxBytes: number, state: SpoolState, unlock: () => Promise<void>) {
    this.#folder = folder
    this.#maxBytes = maxBytes
    this.#unlock = unlock
    this.#writer = new SegmentWriter(folder, {
      ...state,
      segmentBytes: Math.min(SEGMENT_BYTES, maxBytes / 16),
    })
    this.#recovered = state
    this.#nextSequence = state.nextSequence
    this.#loose = state.loose.map(({ sequence, segment }) => ({ sequence, segment }))
    for (const [key, { ranges, segments }] of state.batches) this.#batches.set(key, { ranges, segments })
  }

  async recover(): Promise<{ batches: SpooledBatch[]; loose: NewSignal[] }> {
    const { batches = [], loose = [] } = this.#recovered ?? {}
    // Frees the memory: the caller has the signals now.
    this.#recovered = undefined
    await this.#writer.sweep()
    return {
      batches: [...batches].map(([key, { signals, isDamaged }]) => ({
        key,
        signals: signals.map(({ signal }) => signal),
        isDamaged,
      })),
      loose: loose.map(({ signal }) => signal),
    }
  }

  async append(signal: NewSignal): Promise<void> {
    this.#checkOpen()
    const { bytes } = this.#writer
    if (bytes >= this.#maxBytes)
      throw new Error(
        `The spool ${this.#folder} is full: it holds ${bytes} bytes, and its limit is ${this.#maxBytes} (maxBytes). It has room again when the service has stored its signals.`,
      )
    const sequence = this.#nextSequence++
    const segment = await this.#writer.append({ sequence, signal })
    this.#loose.push({ sequence, segment })
  }

  async cut(key: string, count: number): Promise<void> {
    this.#checkOpen()
    const signals = this.#loose.splice(0, count)
    if (signals.length === 0) return
    const ranges = rangesOf(signals.map(({ sequence }) => sequence))
    const segments = signals.map(({ segment }) => segment)
    // The line must stay as long as its signals: without it they would not be in a batch.
    segments.push(await this.#writer.append({ cut: key, ranges, count: signals.length }))
    this.#batches.set(key, { ranges, segments })
  }

  async done(key: string): Promise<void> {
    this.#checkOpen()
    const batch = this.#batches.get(key)
    if (!batch) return
    await this.#writer.append({ done: key, ranges: batch.ranges })
    this.#batches.delete(key)
    for (const segment of batch.segments) segment.open--
    await this.#writer.sweep()
  }

  close(): Promise<void> {
    this.#closed ??= this.#writer.close().finally(() => this.#unlock())
    return this.#closed
  }

  #checkOpen(): void {
    if (this.#closed) throw new Error(`The spool ${this.#folder} is closed.`)
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
