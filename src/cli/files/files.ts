import { randomUUID } from "node:crypto"
import { type FileHandle, link, open, realpath, rename, rm, stat } from "node:fs/promises"
import { UsageError } from "../terminal/errors.ts"

/** Writes a file completely or not at all. It is on the disk when this resolves. */
export async function replaceFile(path: string, text: string): Promise<void> {
  // A name of its own, since a file with any other name may be somebody's.
  const draft = `${path}.${randomUUID().slice(0, 8)}.new`
  try {
    const file = await open(draft, "wx")
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true }).catch(() => {})
    throw error
  }
}

/** Writes all bytes at a position of a file. They are on the disk when this resolves. */
export async function writeAt(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  // A write may end early without an error, as on a disk that is nearly full.
  for (let written = 0; written < bytes.length; )
    written += (await file.write(bytes, written, bytes.length - written, position + written)).bytesWritten
  await file.datasync()
}

/**
 * Gives a finished file its name, unless a file has the name already.
 *
 * @throws {UsageError} the name is taken; the finished file stays where it is
 */
export async function nameNewFile(finished: string, path: string, option: string): Promise<void> {
  try {
    await link(finished, path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === "EEXIST") throw taken(path, option)
    // Some file systems have no hard links; there the check is not atomic.
    await refuseTaken(path, option)
    await rename(finished, path)
    return
  }
  await rm(finished, { force: true })
}

/** @throws {UsageError} something has this name */
export async function refuseTaken(path: string, option: string): Promise<void> {
  if (await stat(path).catch(() => undefined)) throw taken(path, option)
}

const taken = (path: string, option: string) =>
  new UsageError(`${path} exists already. Remove it, or name another file with ${option}.`)

/**
 * Returns the path of the regular file that `path` leads to, or `path` where nothing is. To replace a link
 * would cut it from its file, and to replace a FIFO or a device would remove that.
 *
 * @throws {UsageError} it is a folder, a FIFO, a device or a socket
 */
export async function regularPath(path: string, option: string): Promise<string> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined
    throw error
  })
  if (found === undefined) return path
  if (found.isDirectory()) throw new UsageError(`${path} is a folder. Name a file with ${option}.`)
  if (!found.isFile())
    throw new UsageError(`${path} is no regular file, so it cannot be replaced. Name another with ${option}.`)
  return await realpath(path)
}
