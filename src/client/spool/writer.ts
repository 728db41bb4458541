import { type FileHandle, open } from "node:fs/promises"
import { freeBytes, isDiskFull, Reserve } from "./disk.ts"
import { neededDone, newSegment, noteSignal, pathOf, removeFile, type Segment, syncFolder } from "./files.ts"
import { type Entry, encodeLine, type Span } from "./lines.ts"

/** Where a line was written. */
export interface Written extends Span {
  segment: Segment
}

/** A line that waits to be written with others. */
interface Line {
  entry: Entry
  bytes: Buffer
  written: (written: Written) => void
  failed: (error: unknown) => void
}

export interface WriterOptions {
  /** Oldest first. */
  segments: Segment[]
  nextFile: number
  /** Bytes after which a new file begins. */
  segmentBytes: number
  /** Free bytes of the disk below which no signal is accepted. */
  minFreeBytes: number
}

/** A file whose lines are all done is removed while it is the current one, when it has this size. */
const IDLE_BYTES = 64 * 1024
/** Bytes of signals that are written, at most, before the free space is looked at again. */
const UNWATCHED_BYTES = 256 * 1024

/** Appends lines to the files of a spool, and removes the files that are no longer needed. */
export class SegmentWriter {
  readonly #folder: string
  readonly #options: WriterOptions
  readonly #segments: Segment[]
  readonly #reserve: Reserve
  #nextFile: number
  #current: { file: FileHandle; segment: Segment } | undefined
  #lines: Line[] = []
  #queuedBytes = 0
  #writing: Promise<void> | undefined
  #sweeping: Promise<void> = Promise.resolve()
  /** Bytes of signals that may be written before the free space is looked at again. */
  #creditBytes = 0
  /** The error of every further `append`. */
  #refusal: Error | undefined
  #isBroken = false

  constructor(folder: string, options: WriterOptions) {
    this.#folder = folder
    this.#options = options
    this.#segments = options.segments
    this.#nextFile = options.nextFile
    this.#reserve = new Reserve(folder)
  }

  /** Bytes of all files, with the lines that wait to be written. */
  get bytes(): number {
    return this.#segments.reduce((sum, { bytes }) => sum + bytes, this.#queuedBytes)
  }

  /** Whether a file of the spool still exists. */
  has(segment: Segment): boolean {
    return this.#segments.includes(segment)
  }

  /**
   * Appends a line. Lines that arrive during a write share the next sync. On a full disk, lines of signals
   * fail; those of batches use the reserve.
   *
   * @returns where the line is, when it is durable. The `open` of its file counts it, unless it is a `done`
   *   line.
   * @throws {Error} the line is not in the spool: it could not be written, or the writer is closed or broken
   */
  append(entry: Entry): Promise<Written> {
    if (this.#refusal) return Promise.reject(this.#refusal)
    const bytes = encodeLine(entry)
    this.#queuedBytes += bytes.length
    return new Promise((written, failed) => {
      this.#lines.push({ entry, bytes, written, failed })
      this.#writing ??= this.#writeLines()
    })
  }

  /**
   * Removes the files without an open line, oldest first. Before that, it copies the `done` ranges that are
   * still needed to the current file. Never rejects: what cannot be removed stays until the next sweep.
   */
  sweep(): Promise<void> {
    this.#sweeping = this.#sweeping.then(() => this.#sweep())
    return this.#sweeping
  }

  async close(): Promise<void> {
    await this.#sweeping
    this.#refusal ??= new Error(`The spool ${this.#folder} is closed.`)
    await this.#writing
    await this.#closeCurrent()
    await this.#removeSegments()
  }

  async #sweep(): Promise<void> {
    if (this.#refusal) return
    for (const segment of this.#segments.filter(({ open }) => open === 0)) {
      if (segment === this.#current?.segment && !(await this.#closeIdle())) continue
      const ranges = neededDone(segment, this.#segments)
      try {
        if (ranges.length > 0) await this.append({ done: "", ranges })
        await this.#remove(segment)
      } catch {
        // The next caller of `append` receives an error of the disk.
      }
    }
    await this.#reserve.restore()
  }

  /** Closes the current file, unless a write may use it or it is small. */
  async #closeIdle(): Promise<boolean> {
    const { segment } = this.#current ?? {}
    if (this.#writing || this.#lines.length > 0 || (segment?.bytes ?? 0) < IDLE_BYTES) return false
    await this.#closeCurrent()
    return true
  }

  /**
   * Removes files when the spool closes, without a new line: a file stays while signals of another file need
   * its `done` ranges.
   */
  async #removeSegments(): Promise<void> {
    for (const segment of this.#segments.filter(({ open }) => open === 0))
      if (neededDone(segment, this.#segments).length === 0) await this.#remove(segment)
  }

  async #remove(segment: Segment): Promise<void> {
    await removeFile(segment.path)
    this.#segments.splice(this.#segments.indexOf(segment), 1)
  }

  /** Never rejects: the callers of `append` receive the error. */
  async #writeLines(): Promise<void> {
    while (this.#lines.length > 0) {
      const lines = await this.#withinFreeSpace(this.#lines.splice(0))
      const error = await this.#write(lines)
      if (error === undefined) continue
      // A signal that is refused is still the caller's. A batch or its end belongs to accepted ones.
      const [signals, others] = [lines.filter(isSignal), lines.filter((line) => !isSignal(line))]
      this.#fail(signals, error)
      if (others.length === 0) continue
      if (isDiskFull(error)) await this.#reserve.release()
      const again = await this.#write(others)
      if (again !== undefined) this.#fail(others, again)
    }
    this.#writing = undefined
  }

  /** Refuses signals while the disk has too little room; the rest is for the ends of batches. */
  async #withinFreeSpace(lines: Line[]): Promise<Line[]> {
    const { minFreeBytes } = this.#options
    const signals = lines.filter(isSignal)
    if (signals.length === 0 || minFreeBytes === 0) return lines
    const bytes = signals.reduce((sum, line) => sum + line.bytes.length, 0)
    this.#creditBytes -= bytes
    if (this.#creditBytes >= 0) return lines
    const free = (await freeBytes(this.#folder)) ?? Number.POSITIVE_INFINITY
    const left = free - bytes - minFreeBytes
    this.#creditBytes = Math.max(0, Math.min(UNWATCHED_BYTES, left / 2))
    if (left >= 0) return lines
    const error = new Error(
      `The disk of the spool ${this.#folder} is nearly full: it has ${free} free bytes, and the spool leaves ${minFreeBytes} (minFreeBytes). It accepts signals again when there is room.`,
    )
    this.#fail(signals, error)
    // Batches that are done meanwhile may have left files.
    void this.sweep()
    return lines.filter((line) => !isSignal(line))
  }

  #fail(lines: readonly Line[], error: unknown): void {
    for (const { bytes, failed } of lines) {
      this.#queuedBytes -= bytes.length
      failed(error)
    }
  }

  /** @returns the error when no line is in the spool */
  async #write(lines: readonly Line[]): Promise<unknown> {
    if (lines.length === 0) return undefined
    const bytes = Buffer.concat(lines.map((line) => line.bytes))
    try {
      const segment = await this.#writeDurably(bytes)
      this.#queuedBytes -= bytes.length
      let from = segment.bytes - bytes.length
      // Before any other code runs, or a sweep could remove the file of an accepted line.
      for (const { entry, bytes: line, written } of lines) {
        note(entry, segment)
        written({ segment, from, to: from + line.length - 1 })
        from += line.length
      }
      if (segment.bytes >= this.#options.segmentBytes) await this.#closeCurrent()
      return undefined
    } catch (error) {
      return error ?? new Error("the spool could not be written")
    }
  }

  async #writeDurably(bytes: Buffer): Promise<Segment> {
    if (this.#isBroken) throw this.#refusal
    try {
      const { file, segment } = this.#current ?? (await this.#openNext())
      await file.appendFile(bytes)
      await file.datasync()
      segment.bytes += bytes.length
      return segment
    } catch (error) {
      await this.#repair()
      throw error
    }
  }

  async #openNext(): Promise<{ file: FileHandle; segment: Segment }> {
    const segment = newSegment(pathOf(this.#folder, this.#nextFile++))
    const file = await open(segment.path, "ax", 0o600)
    this.#segments.push(segment)
    this.#current = { file, segment }
    await syncFolder(this.#folder)
    return this.#current
  }

  /**
   * After a failed write: truncates the file to its last good byte, so that no failed line is read later, and
   * closes it. The next line starts a new file. If the repair fails too, the spool accepts no more lines.
   */
  async #repair(): Promise<void> {
    const { file, segment } = this.#current ?? {}
    this.#current = undefined
    if (!file || !segment) return
    try {
      await file.truncate(segment.bytes)
      await file.sync()
      if (segment.bytes === 0) await this.#remove(segment)
    } catch (cause) {
      this.#isBroken = true
      this.#refusal = new Error(
        `The spool ${this.#folder} could not be written, and ${segment.path} could not be repaired. It accepts no more signals: check the disk, then open the spool again.`,
        { cause },
      )
    } finally {
      await file.close().catch(() => {})
    }
  }

  async #closeCurrent(): Promise<void> {
    const { file } = this.#current ?? {}
    this.#current = undefined
    // The lines are already durable, so an error does not matter.
    await file?.close().catch(() => {})
  }
}

const isSignal = ({ entry }: Line): boolean => "signal" in entry

function note(entry: Entry, segment: Segment): void {
  if ("done" in entry) segment.done.push(...entry.ranges)
  else segment.open++
  if ("signal" in entry) noteSignal(segment, entry.sequence)
}
