import { type FileHandle, open } from "node:fs/promises"
import { neededDone, newSegment, noteSignal, pathOf, removeFile, type Segment, syncFolder } from "./files.ts"
import { type Entry, encodeLine } from "./lines.ts"

/** A line that waits to be written with others. */
interface Line {
  entry: Entry
  bytes: Buffer
  written: (segment: Segment) => void
  failed: (error: unknown) => void
}

/** Appends lines to the files of a spool, and removes the files that are no longer needed. */
export class SegmentWriter {
  readonly #folder: string
  readonly #segmentBytes: number
  /** Oldest first. */
  readonly #segments: Segment[]
  #nextFile: number
  #current: { file: FileHandle; segment: Segment } | undefined
  #lines: Line[] = []
  #queuedBytes = 0
  #writing: Promise<void> | undefined
  #sweeping: Promise<void> = Promise.resolve()
  /** The error of every further `append`. */
  #refusal: Error | undefined
  #isBroken = false

  constructor(
    folder: string,
    { segments, nextFile, segmentBytes }: { segments: Segment[]; nextFile: number; segmentBytes: number },
  ) {
    this.#folder = folder
    this.#segments = segments
    this.#nextFile = nextFile
    this.#segmentBytes = segmentBytes
  }

  /** Bytes of all files, with the lines that wait to be written. */
  get bytes(): number {
    return this.#segments.reduce((sum, { bytes }) => sum + bytes, this.#queuedBytes)
  }

  /**
   * Appends a line. Lines that arrive during a write share the next sync.
   *
   * @returns the line's file, when the line is durable. Its `open` counts the line, unless it is a `done`
   *   line.
   * @throws {Error} the line is not in the spool: it could not be written, or the writer is closed or broken
   */
  append(entry: Entry): Promise<Segment> {
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
   * still needed to the current file.
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
      if (segment === this.#current?.segment) continue
      const ranges = neededDone(segment, this.#segments)
      try {
        if (ranges.length > 0) await this.append({ done: "", ranges })
        await this.#remove(segment)
      } catch {
        // The file stays until the next sweep. The next caller of `append` receives an error of the disk.
        return
      }
    }
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
      const lines = this.#lines.splice(0)
      const bytes = Buffer.concat(lines.map((line) => line.bytes))
      try {
        const segment = await this.#writeDurably(bytes)
        this.#queuedBytes -= bytes.length
        // Before any other code runs, or a sweep could remove the file of an accepted line.
        for (const { entry, written } of lines) {
          note(entry, segment)
          written(segment)
        }
        if (segment.bytes >= this.#segmentBytes) await this.#closeCurrent()
      } catch (error) {
        this.#queuedBytes -= bytes.length
        for (const { failed } of lines) failed(error)
      }
    }
    this.#writing = undefined
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

function note(entry: Entry, segment: Segment): void {
  if ("done" in entry) segment.done.push(...entry.ranges)
  else segment.open++
  if ("signal" in entry) noteSignal(segment, entry.sequence)
}
