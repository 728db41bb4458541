import type { Failure } from "../../client/index.ts"
import type { FailedRecord, FailuresFile } from "../failures.ts"
import type { Source } from "../sources/source.ts"
import { batchesOf, type ImportBatch } from "./batches.ts"
import { type Checkpoint, writeCheckpoint } from "./checkpoint.ts"
import type { Deliver } from "./deliver.ts"
import { tally } from "./tally.ts"
import { Window } from "./window.ts"

export interface ImportOptions {
  source: Source
  checkpoint: Checkpoint
  /** Where the checkpoint is kept. */
  statePath: string
  failures: FailuresFile
  deliver: Deliver
  concurrency: number
  /** Aborts to stop: what is under way is waited for, nothing new begins. */
  stop: AbortSignal
  onProgress: (checkpoint: Checkpoint, window: number) => void
}

/**
 * Sends a source batch by batch, several at once, and notes what is done in the order of the source.
 *
 * @returns whether the source was read to its end
 * @throws what `deliver` throws; everything before that batch is noted
 */
export async function runImport(options: ImportOptions): Promise<boolean> {
  const { source, checkpoint, stop, concurrency } = options
  const window = new Window(concurrency)
  const fatal = new AbortController()
  /** What is done, each after the batch before it. */
  let done = Promise.resolve()
  const from = { number: checkpoint.nextBatch, position: checkpoint.position }
  let complete = true
  for await (const batch of batchesOf(source, from, checkpoint.batchSize)) {
    await window.enter()
    if (stop.aborted || fatal.signal.aborted) {
      complete = false
      break
    }
    const delivered = options.deliver(batch, window)
    const before = done
    done = (async () => {
      // Awaited first, so that no failure goes unhandled while an earlier batch is waited for.
      const [result] = await Promise.allSettled([delivered, before])
      await before
      if (result.status === "rejected") throw result.reason
      await note(options, batch, result.value)
      options.onProgress(checkpoint, window.size)
    })()
    // The place is kept until the batch is noted: what waits for an earlier one can't pile up.
    done.then(
      () => window.leave(),
      () => {
        fatal.abort()
        window.leave()
      },
    )
  }
  await done
  if (complete) {
    checkpoint.finished = true
    await writeCheckpoint(options.statePath, checkpoint)
    options.onProgress(checkpoint, window.size)
  }
  return complete
}

async function note({ checkpoint, statePath, failures }: ImportOptions, batch: ImportBatch, refusals: Failure[]): Promise<void> {
  const refused: FailedRecord[] = refusals.map(({ index, error }) => {
    return { place: batch.places[index] ?? "", error, signal: batch.signals[index] ?? {} }
  })
  const failed = [...batch.faults, ...refused]
  // First the file, then the checkpoint that says how much of it counts.
  await failures.append(failed)
  checkpoint.nextBatch = batch.number + 1
  checkpoint.position = batch.position
  checkpoint.read += batch.read
  checkpoint.stored += batch.signals.length - refused.length
  checkpoint.failed += failed.length
  for (const { error } of failed) tally(checkpoint.reasons, error)
  for (const [kind, count] of Object.entries(batch.skipped)) tally(checkpoint.skipped, kind, count)
  checkpoint.failureBytes = failures.bytes
  await writeCheckpoint(statePath, checkpoint)
}
