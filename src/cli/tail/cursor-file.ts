import { open, readFile, rename } from "node:fs/promises"
import { UsageError } from "../usage.ts"

/**
 * Reads the cursor in a file; undefined when there is no file.
 *
 * @throws {UsageError} the file does not hold a cursor
 */
export async function readCursor(path: string): Promise<string | undefined> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined
    throw error
  })
  if (text === undefined) return undefined
  const cursor = text.trim()
  if (!/^[\w-]{1,500}$/.test(cursor))
    throw new UsageError(`${path} does not hold a cursor. Name another file with --cursor-file.`)
  return cursor
}

/** Writes the file completely or not at all. It is on the disk when this resolves. */
export async function writeCursor(path: string, cursor: string): Promise<void> {
  const file = await open(`${path}.new`, "w")
  try {
    await file.writeFile(`${cursor}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(`${path}.new`, path)
}
