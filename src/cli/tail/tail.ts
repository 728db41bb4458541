import { SignalError, type StoredSignal, ValidationError } from "../../client/index.ts"
import { openClient } from "../options.ts"
import { EXIT, UsageError } from "../usage.ts"
import { readCursor, writeCursor } from "./cursor-file.ts"

export interface TailOptions {
  url: string
  follow?: true | undefined
  after?: string | undefined
  cursorFile?: string | undefined
  quiet?: true | undefined
}

/** Prints the feed, and saves the cursor after each page. Returns the exit code. */
export async function tail(
  { url, follow, after, cursorFile, quiet }: TailOptions,
  stop: AbortSignal,
): Promise<number> {
  let cursor = (cursorFile === undefined ? undefined : await readCursor(cursorFile)) ?? after
  try {
    for await (const page of openClient({ url }).feed({
      after: cursor,
      follow: follow ?? false,
      signal: stop,
    })) {
      await print(page.signals)
      cursor = page.next_cursor
      if (cursorFile !== undefined) await writeCursor(cursorFile, cursor)
    }
  } catch (error) {
    if (error instanceof ValidationError) throw new UsageError(`${error.message}.`)
    if (!(error instanceof SignalError)) throw error
    console.error(`Gave up: ${error.message}`)
    return EXIT.gaveUp
  } finally {
    if (!quiet && cursorFile === undefined && cursor !== undefined)
      console.error(`Continue with --after ${cursor}`)
  }
  return stop.aborted ? EXIT.stopped : EXIT.done
}

/** Resolves when the pipe has room. When its reader has closed it, `runCommandLine` ends the process. */
const print = (signals: readonly StoredSignal[]) =>
  new Promise<void>((resolve) => {
    const text = signals.map((signal) => `${JSON.stringify(signal)}\n`).join("")
    process.stdout.write(text, (error) => {
      if (!error) resolve()
    })
  })
