import { randomUUID } from "node:crypto"
import { type FileHandle, mkdir, open } from "node:fs/promises"
import { dirname } from "node:path"
import type { FailureCode } from "../client/index.ts"
import { writeAt } from "./files.ts"

/** A record that was not stored, and the reason. */
export interface FailedRecord {
  place: string
  error: string
  code: FailureCode
  /** The field that the error is about, where there is one. */
  field?: string | undefined
  /** Missing when the record did not become a signal. */
  signal?: Record<string, unknown>
  /** The record itself, where the signal does not hold it. */
  record?: Record<string, unknown>
}

/**
 * The file of records that were not stored, one JSON object on each line: the signal with `_error`, `_code`,
 * `_field` and `_place`, and `_record` where there is no signal. After corrections the file can be imported,
 * since the importer ignores names that begin with an underscore.
 */
export class FailuresFile {
  readonly path: string
  #file: FileHandle | undefined
  #bytes: number

  /** @param keepBytes bytes of an existing file that belong to finished batches; the rest is overwritten */
  constructor(path: string, keepBytes: number) {
    this.path = path
    this.#bytes = keepBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  /**
   * Appends records. They are on the disk when this resolves.
   *
   * @throws the file system's error, such as a full disk; `bytes` does not count the incomplete write
   */
  async append(failures: readonly FailedRecord[]): Promise<void> {
    if (failures.length === 0) return
    this.#file ??= await this.#open()
    const text = failures
      .map(({ signal, place, error, code, field, record }) =>
        JSON.stringify({
          ...signal,
          _error: error,
          _code: code,
          _field: field,
          _place: place,
          _record: record,
        }),
      )
      .join("\n")
    const bytes = Buffer.from(`${text}\n`)
    await writeAt(this.#file, bytes, this.#bytes)
    this.#bytes += bytes.length
  }

  async close(): Promise<void> {
    await this.#file?.close()
  }

  async #open(): Promise<FileHandle> {
    await mkdir(dirname(this.path), { recursive: true })
    const file = await open(this.path, this.#bytes > 0 ? "r+" : "w")
    // After an interruption, unfinished batches are sent again, and their failures are written again.
    await file.truncate(this.#bytes)
    return file
  }
}

/**
 * Returns a name that no other process uses: `path` with an id before its extensions, such as
 * `chat.1b2c3d4e.jsonl`.
 */
export function ownName(path: string): string {
  const id = randomUUID().slice(0, 8)
  return path.replace(/((?:\.failures)?\.\w+)?$/, (ending) => `.${id}${ending}`)
}
