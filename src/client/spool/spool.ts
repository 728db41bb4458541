import { type FileHandle, mkdir, open, rm } from "node:fs/promises"
import { join } from "node:path"
import { toJson } from "../json.ts"
import type { NewSignal } from "../types.ts"
import { type Entry, readSpool, type Segment, type SpoolState } from "./files.ts"
import { lockFolder } from "./lock.ts"
import type { Spool, SpooledBatch } from "./types.ts"

export type { Spool, SpooledBatch } from "./types.ts"

/** Bytes after which a new file is begun, so that old ones can be removed. */
const SEGMENT_BYTES = 8 * 1024 * 1024

/**
 * A spool in a folder: files to which lines are only appended, each removed when all in it is done. A line that a crash left half
 * written had not been accepted, and is passed over. One process at a time may have it open.
 *
 * @throws {Error} another process has the folder open, or it can't be read or written
 */
export async function openSpool(folder: string): Promise<Spool> {
  await mkdir(folder, { recursive: true })
  const unlock = await lockFolder(folder)
  try {
    return new FileSpool(folder, await readSpool(folder), unlock)
  } catch (error) {
    await unlock()
    throw error
  }
}

/** A line that waits to be written with others. */
interface Line {
  text: string
  written: (segment: Segment) => void
  failed: (error: unknown) => void
}

class FileSpool implements Spool {
  readonly #folder: string
  readonly #state: SpoolState
  readonly #unlock: () => Promise<void>
  #segment: Segment | undefined
  #file: FileHandle | undefined
  #lines: Line[] = []
  #writing: Promise<void> | undefined

  constructor(folder: string, state: SpoolState, unlock: () => Promise<void>) {
    this.#folder = folder
    this.#state = state
    this.#unlock = unlock
  }

  async recover(): Promise<{ batches: SpooledBatch[]; loose: NewSignal[] }> {
    const { batches, loose } = this.#state
    return {
      batches: [...batches].map(([key, { signals }]) => ({ key, signals: signals.map(({ signal }) => signal) })),
      loose: loose.map(({ signal }) => signal),
    }
  }

  async append(signal: NewSignal): Promise<void> {
    const sequence = this.#state.nextSequence++
    const segment = await this.#write({ sequence, signal })
    segment.open++
    this.#state.loose.push({ sequence, signal, segment })
  }

  async cut(key: string, count: number): Promise<void> {
    const signals = this.#state.loose.splice(0, count)
    const batch = { signals, segments: signals.map(({ segment }) => segment) }
    this.#state.batches.set(key, batch)
    const [first, last] = [signals[0], signals.at(-1)]
    if (!first || !last) return
    const segment = await this.#write({ cut: key, from: first.sequence, to: last.sequence })
    // The line is needed as long as its signals are: without it they would be in no batch.
    segment.open++
    batch.segments.push(segment)
  }

  async done(key: string): Promise<void> {
    const batch = this.#state.batches.get(key)
    if (!batch) return
    await this.#write({ done: key })
    this.#state.batches.delete(key)
    for (const segment of batch.segments) segment.open--
    for (const segment of new Set(batch.segments))
      if (segment.open === 0 && segment !== this.#segment) await rm(segment.path, { force: true })
  }

  async close(): Promise<void> {
    await this.#writing
    await this.#file?.close()
    this.#file = undefined
    if (this.#segment?.open === 0) await rm(this.#segment.path, { force: true })
    await this.#unlock()
  }

  /** Appends a line; resolves with its file when it is on the disk. Lines that come while others are written share one sync. */
  #write(entry: Entry): Promise<Segment> {
    const text = `${toJson(entry)}\n`
    return new Promise((written, failed) => {
      this.#lines.push({ text, written, failed })
      this.#writing ??= this.#writeLines()
    })
  }

  /** Never rejects: whoever waits for a line is told. */
  async #writeLines(): Promise<void> {
    while (this.#lines.length > 0) {
      const lines = this.#lines.splice(0)
      try {
        const { file, segment } = await this.#current()
        const bytes = Buffer.from(lines.map(({ text }) => text).join(""))
        await file.appendFile(bytes)
        await file.datasync()
        segment.bytes += bytes.length
        for (const { written } of lines) written(segment)
      } catch (error) {
        for (const { failed } of lines) failed(error)
      }
    }
    this.#writing = undefined
  }

  async #current(): Promise<{ file: FileHandle; segment: Segment }> {
    const { segment, file } = { segment: this.#segment, file: this.#file }
    if (segment && file && segment.bytes < SEGMENT_BYTES) return { file, segment }
    await file?.close()
    if (segment?.open === 0) await rm(segment.path, { force: true })
    const path = join(this.#folder, `${String(this.#state.nextFile++).padStart(9, "0")}.spool`)
    this.#file = await open(path, "a", 0o600)
    this.#segment = { path, bytes: 0, open: 0 }
    return { file: this.#file, segment: this.#segment }
  }
}
