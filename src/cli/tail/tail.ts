import { readFile } from "node:fs/promises"
import { FolderInUse, lockOwnFolder } from "../../client/spool/lock.ts"
import { parseJson } from "../../signals/json.ts"
import { jsonLine } from "../../signals/lines.ts"
import { regularPath, replaceFile } from "../files/files.ts"
import { EXIT, UsageError } from "../terminal/errors.ts"
import { openClient } from "../terminal/options.ts"
import { print, say } from "../terminal/output.ts"

export interface TailOptions {
  url: string
  follow?: true | undefined
  after?: string | undefined
  cursorFile?: string | undefined
  quiet?: true | undefined
}

/** Prints the feed, and saves the cursor after each page. Returns the exit code. */
export async function tail(options: TailOptions, stop: AbortSignal): Promise<number> {
  if (options.cursorFile === undefined) return await printFeed(options, options.after, stop)
  const path = await regularPath(options.cursorFile, "--cursor-file")
  const release = await lockOwnFolder(`${path}.lock`, `The cursor file ${path}`).catch((error) => {
    if (!(error instanceof FolderInUse)) throw error
    throw new UsageError(`${error.message} Name another file with --cursor-file.`)
  })
  try {
    const cursor = (await readCursor(path)) ?? options.after
    return await printFeed(options, cursor, stop, (next) => replaceFile(path, `${next}\n`))
  } finally {
    await release()
  }
}

async function printFeed(
  { url, follow, quiet }: TailOptions,
  after: string | undefined,
  stop: AbortSignal,
  save?: (cursor: string) => Promise<void>,
): Promise<number> {
  let cursor: string | undefined
  // Numbers of a payload keep every digit.
  const client = openClient({ url, parse: parseJson })
  try {
    for await (const page of client.feed({ after, follow: follow ?? false, signal: stop })) {
      await print(page.signals.map((signal) => `${jsonLine(signal)}\n`).join(""))
      cursor = page.next_cursor
      await save?.(cursor)
    }
  } catch (error) {
    if (stop.aborted) return EXIT.stopped
    throw error
  } finally {
    if (!quiet && save === undefined && cursor !== undefined) say(`Continue with --after ${cursor}`)
  }
  return stop.aborted ? EXIT.stopped : EXIT.done
}

/**
 * Reads the cursor in a file; undefined when there is no file.
 *
 * @throws {UsageError} the file does not hold a cursor
 */
async function readCursor(path: string): Promise<string | undefined> {
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
