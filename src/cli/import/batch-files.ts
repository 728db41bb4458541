import { open, rename } from "node:fs/promises"
import type { Source } from "../sources/source.ts"
import { EXIT } from "../usage.ts"
import { batchesOf } from "./batches.ts"

/**
 * Writes batches as request bodies for curl: a single batch to `path`, several to files with a number before
 * the extension.
 *
 * @returns the exit code
 */
export async function writeBatchFiles(source: Source, path: string, batchSize: number): Promise<number> {
  const written: string[] = []
  let unreadable = 0
  let signals = 0
  for await (const batch of batchesOf(source, { number: 1, position: null }, batchSize)) {
    for (const { place, error } of batch.unreadable) console.error(`${place}: ${error}`)
    unreadable += batch.unreadable.length
    signals += batch.signals.length
    if (batch.signals.length === 0) continue
    const file = numbered(path, written.length + 1)
    const handle = await open(file, "w")
    await handle.writeFile(`${JSON.stringify({ signals: batch.signals })}\n`)
    await handle.close()
    written.push(file)
  }
  const [only, ...more] = written
  // A single file gets the name that the user gave.
  if (only !== undefined && more.length === 0) await rename(only, path)
  const names = more.length === 0 ? path : `${only} to ${more.at(-1)}`
  console.error(
    written.length === 0 ? "The source has no signals to write." : `${signals} signals in ${names}.`,
  )
  return unreadable > 0 ? EXIT.someFailed : EXIT.done
}

const numbered = (path: string, number: number) =>
  path.replace(/(\.\w+)?$/, (ending) => `-${number}${ending}`)
