import { open, rename } from "node:fs/promises"
import type { Source } from "../sources/source.ts"
import { EXIT } from "../usage.ts"
import { batchesOf } from "./batches.ts"

/**
 * Writes batches as bodies for curl: one into `path`; where there are several, each into a file with its number before the ending.
 * Returns the exit code.
 */
export async function writeBatchFiles(source: Source, path: string, batchSize: number): Promise<number> {
  const written: string[] = []
  let faults = 0
  let signals = 0
  for await (const batch of batchesOf(source, { number: 1, position: null }, batchSize)) {
    for (const { place, error } of batch.faults) console.error(`${place}: ${error}`)
    faults += batch.faults.length
    signals += batch.signals.length
    if (batch.signals.length === 0) continue
    const file = numbered(path, written.length + 1)
    const handle = await open(file, "w")
    await handle.writeFile(`${JSON.stringify({ signals: batch.signals })}\n`)
    await handle.close()
    written.push(file)
  }
  const [only, ...more] = written
  // A single one has the very name that was asked for.
  if (only !== undefined && more.length === 0) await rename(only, path)
  const names = more.length === 0 ? path : `${only} to ${more.at(-1)}`
  console.error(written.length === 0 ? "There is nothing to write." : `${signals} signals in ${names}.`)
  return faults > 0 ? EXIT.someFailed : EXIT.done
}

const numbered = (path: string, number: number) => path.replace(/(\.\w+)?$/, (ending) => `-${number}${ending}`)
