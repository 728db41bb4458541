import { createHash, randomUUID } from "node:crypto"
import { type FileHandle, mkdir, open, rm, stat } from "node:fs/promises"
import { dirname } from "node:path"
import type { FailureCode } from "../../client/index.ts"
import { jsonLine } from "../../signals/lines.ts"
import { UsageError } from "../terminal/errors.ts"
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

/** What a run has written of a failures file, so that a later one can prove that the file is its own. */
export interface WrittenFailures {
  path: string
  bytes: number
  /** SHA-256 of the last bytes, `TAIL_BYTES` at most. */
  tail: string
}

const TAIL_BYTES = 4096

/**
 * The file of records that were not stored, one JSON object on each line: the signal with `_error`, `_code`,
 * `_field` and `_place`, and `_record` where there is no signal. After corrections the file can be imported,
 * since the importer ignores names that begin with an underscore.
 *
 * It never changes a byte that another program or a person wrote: it makes a new file, or continues one that
 * ends as it left it. A file that was removed or corrected since then stays, and a new one begins.
 */
export class FailuresFile {
  #written: WrittenFailures
  #file: FileHandle | undefined
  readonly #tell: (sentence: string) => void

  /**
   * @param written what an earlier run wrote; nothing where this run begins the file
   * @param tell receives a sentence when another file has to be begun
   */
  constructor(path: string, written?: WrittenFailures | null, tell: (sentence: string) => void = () => {}) {
    this.#written = written ?? { path, bytes: 0, tail: tailOf(Buffer.alloc(0)) }
    this.#tell = tell
  }

  get path(): string {
    return this.#written.path
  }

  get written(): WrittenFailures {
    return this.#written
  }

  /**
   * Makes the file of a new import, so that no other import can write it. `close` removes it when it stayed
   * empty.
   *
   * @throws {UsageError} the file exists
   */
  async create(): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true })
    this.#file = await open(this.path, "wx+").catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error
      throw new UsageError(`${this.path} exists already. Remove it, or name another file with --failures.`)
    })
  }

  /**
   * Appends records. They are on the disk when this resolves.
   *
   * @throws the file system's error, such as a full disk; `written` does not count the incomplete write
   */
  async append(failures: readonly FailedRecord[]): Promise<void> {
    if (failures.length === 0) return
    const bytes = Buffer.from(failures.map(lineOf).join(""))
    this.#file ??= await this.#continue(bytes)
    try {
      await writeAt(this.#file, bytes, this.#written.bytes)
    } catch (error) {
      // Half a record is of no use to a reader. A later run would overwrite it.
      await this.#file.truncate(this.#written.bytes).catch(() => {})
      throw error
    }
    this.#written = {
      path: this.path,
      bytes: this.#written.bytes + bytes.length,
      tail: await this.#tail(this.#file, this.#written.bytes + bytes.length),
    }
  }

  async close(): Promise<void> {
    await this.#file?.close()
    if (this.#file && this.#written.bytes === 0) await rm(this.path, { force: true })
    this.#file = undefined
  }

  async #tail(file: FileHandle, end: number): Promise<string> {
    const tail = Buffer.alloc(Math.min(end, TAIL_BYTES))
    await file.read(tail, 0, tail.length, end - tail.length)
    return tailOf(tail)
  }

  /** Opens the file of an earlier run, or begins another. @param next what is written next */
  async #continue(next: Buffer): Promise<FileHandle> {
    const { path, bytes, tail } = this.#written
    if (bytes === 0) return await this.#begin()
    const file = await open(path, "r+").catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error
    })
    if (file) {
      const { size } = await file.stat()
      const isOwn = size >= bytes && (await this.#tail(file, bytes)) === tail
      if (isOwn && (await isBeginningOf(next, file, bytes, size))) return file
      await file.close()
    }
    const another = await this.#begin()
    this.#tell(
      `${path} was ${file ? "changed" : "removed"} since the import was stopped. Further failures go into ${this.path}.`,
    )
    return another
  }

  /** Begins a file under this name, or with an id where it is taken. */
  async #begin(): Promise<FileHandle> {
    await mkdir(dirname(this.path), { recursive: true })
    for (let { path } = this.#written; ; path = ownName(this.#written.path))
      try {
        const file = await open(path, "wx+")
        this.#written = { path, bytes: 0, tail: tailOf(Buffer.alloc(0)) }
        return file
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error
        if ((await stat(path)).size === 0 && this.#written.bytes === 0) return await open(path, "r+")
      }
  }
}

/**
 * Whether the rest of a file is what this run is about to write, or the beginning of it: an earlier run was
 * killed between this file and its state.
 */
async function isBeginningOf(next: Buffer, file: FileHandle, start: number, size: number): Promise<boolean> {
  if (size - start > next.length) return false
  const rest = Buffer.alloc(size - start)
  await file.read(rest, 0, rest.length, start)
  return rest.equals(next.subarray(0, rest.length))
}

const lineOf = ({ signal, place, error, code, field, record }: FailedRecord) =>
  `${jsonLine({ ...signal, _error: error, _code: code, _field: field, _place: place, _record: record })}\n`

const tailOf = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex")

/**
 * Returns a name that no other process uses: `path` with an id before its extensions, such as
 * `chat.1b2c3d4e.jsonl`.
 */
export function ownName(path: string): string {
  const id = randomUUID().slice(0, 8)
  return path.replace(/((?:\.failures)?\.\w+)?$/, (ending) => `.${id}${ending}`)
}
