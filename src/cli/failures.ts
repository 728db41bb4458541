import { type FileHandle, mkdir, open } from "node:fs/promises"
import { dirname } from "node:path"

/** A record that was not stored, and why. */
export interface FailedRecord {
  place: string
  error: string
  /** Missing when the record could not even be read. */
  signal?: Record<string, unknown>
}

/**
 * The file of what was not stored: the signals one a line, each with `_error` and `_place`. Mended, it can be imported itself, since
 * names that begin with an underscore are left out then.
 */
export class FailuresFile {
  readonly path: string
  #file: FileHandle | undefined
  #bytes: number

  /** @param keepBytes how much of what is there belongs to batches that are done */
  constructor(path: string, keepBytes: number) {
    this.path = path
    this.#bytes = keepBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  /** On the disk when this resolves. */
  async append(failures: readonly FailedRecord[]): Promise<void> {
    if (failures.length === 0) return
    this.#file ??= await this.#open()
    const text = failures
      .map(({ signal, place, error }) => `${JSON.stringify({ ...signal, _error: error, _place: place })}\n`)
      .join("")
    const { bytesWritten } = await this.#file.write(text, this.#bytes)
    this.#bytes += bytesWritten
    await this.#file.datasync()
  }

  async close(): Promise<void> {
    await this.#file?.close()
  }

  async #open(): Promise<FileHandle> {
    await mkdir(dirname(this.path), { recursive: true })
    const file = await open(this.path, this.#bytes > 0 ? "r+" : "w")
    // What an interrupted run wrote of batches that were not done is written again.
    await file.truncate(this.#bytes)
    return file
  }
}
