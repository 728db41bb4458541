import { open, rm } from "node:fs/promises"
import { jsonLine } from "../../signals/lines.ts"
import { nameNewFile, refuseTaken } from "../files/files.ts"
import type { Source } from "../sources/reading/source.ts"
import type { Imported } from "../sources/rows/convert.ts"
import { EXIT } from "../terminal/errors.ts"
import { printLine, say } from "../terminal/output.ts"
import { batchesOf } from "./batches.ts"

/** `--dry-run`: prints each signal, and each other record with the reason why it would not be sent. */
export async function dryRun(source: Source, stop: AbortSignal): Promise<number> {
  const counts = { signals: 0, skipped: 0, unreadable: 0 }
  for await (const record of source.records()) {
    if (stop.aborted) return EXIT.stopped
    if ("signal" in record) {
      counts.signals++
      await printLine(jsonLine(record.signal))
    } else if ("skipped" in record) {
      counts.skipped++
      say(`${record.place}: skipped, ${record.skipped}`)
    } else {
      counts.unreadable++
      say(`${record.place}: ${record.error}`)
    }
  }
  say(
    `${counts.signals} signals would be sent, ${counts.skipped} skipped, ${counts.unreadable} cannot be read. Nothing was sent.`,
  )
  return counts.unreadable > 0 ? EXIT.someFailed : EXIT.done
}

/**
 * `--output`: writes batches as request bodies for curl: a single batch to `path`, several to files with a
 * number before the extension. It replaces no file, and leaves all of its files or none.
 *
 * @returns the exit code
 * @throws {UsageError} a file exists already
 * @throws the error of the source or the file system; the files of this run are removed
 */
export async function writeBatchFiles(
  source: Source,
  options: BatchFilesOptions,
  stop: AbortSignal,
): Promise<number> {
  const written: string[] = []
  try {
    const counts = await writeNumbered(source, { ...options, written }, stop)
    if (counts !== undefined) return await nameBatchFiles(written, options, counts)
    await removeAll(written)
    say("Stopped. No file was written.")
    return EXIT.stopped
  } catch (error) {
    await removeAll(written)
    throw error
  }
}

interface BatchFilesOptions {
  output: string
  batchSize: number
  imported: Imported
}

interface BatchFileCounts {
  signals: number
  unreadable: number
}

/** @param options.written receives the path of each file. @returns undefined when the user stopped it */
async function writeNumbered(
  source: Source,
  { output: path, batchSize, imported, written }: BatchFilesOptions & { written: string[] },
  stop: AbortSignal,
): Promise<BatchFileCounts | undefined> {
  await refuseTaken(path, "--output")
  const counts = { signals: 0, unreadable: 0 }
  for await (const batch of batchesOf(source, { number: 1, beginning: null }, batchSize)) {
    if (stop.aborted) return undefined
    for (const { place, error } of batch.unreadable) say(`${place}: ${error}`)
    counts.unreadable += batch.unreadable.length
    counts.signals += batch.texts.length
    if (batch.texts.length === 0) continue
    const file = numbered(path, written.length + 1)
    await writeNew(file, `{"${imported}":[${batch.texts.join(",")}]}\n`)
    written.push(file)
  }
  return counts
}

async function nameBatchFiles(
  written: readonly string[],
  { output: path, imported }: BatchFilesOptions,
  { signals, unreadable }: BatchFileCounts,
): Promise<number> {
  const [only, ...more] = written
  // A single file gets the name that the user gave.
  if (only !== undefined && more.length === 0) await nameNewFile(only, path, "--output")
  const names = more.length === 0 ? path : `${only} to ${more.at(-1)}`
  say(only === undefined ? `The source has no ${imported} to write.` : `${signals} ${imported} in ${names}.`)
  return unreadable > 0 ? EXIT.someFailed : EXIT.done
}

const removeAll = async (paths: readonly string[]): Promise<void> => {
  for (const path of paths) await rm(path, { force: true })
}

async function writeNew(path: string, text: string): Promise<void> {
  await refuseTaken(path, "--output")
  const file = await open(path, "wx")
  try {
    await file.writeFile(text)
  } catch (error) {
    // Half a body is of no use, and would be in the way of the next run.
    await rm(path, { force: true })
    throw error
  } finally {
    await file.close()
  }
}

const numbered = (path: string, number: number) =>
  path.replace(/(\.\w+)?$/, (ending) => `-${number}${ending}`)
