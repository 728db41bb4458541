import { readFile } from "node:fs/promises"
import { replaceFile } from "../files.ts"
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

export const writeCursor = (path: string, cursor: string): Promise<void> => replaceFile(path, `${cursor}\n`)
