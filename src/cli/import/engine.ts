import type { Failure } from "../../client/index.ts"
import type { FailedRecord, FailuresFile } from "../failures.ts"
import type { Source } from "../sources/source.ts"
import { AdaptiveLimit } from "./adaptive-limit.ts"
import { batchesOf, type ImportBatch } from "./batches.ts"
import { type Checkpoint, writeCheckpoint } from "./checkpoint.ts"
import type { Deliver } from "./deliver.ts"
import { tally } from "./tally.ts"

export interface ImportOptions {
  source: Source
  checkpoint: Checkpoint
  /** The file of the checkpoint. */
  statePath: string
  failures: FailuresFile
  deliver: Deliver
  concurrency: number
  /** Aborts to stop: batches in flight finish, no other batch starts. */
  stop: AbortSignal
  onProgress: (checkpoint: Checkpoint, limit: number) => void
}

/**
 * Sends a source in batches, several at once. Saves the progress after each batch, in the order of the
 * source.
 *
 * @returns whether the source was read to its end
 * @throws the error of `deliver`; the batches before that one are saved in the checkpoint
 */
export async function runImport(options: ImportOptions): Promise<boolean> {
  const { source, checkpoint, stop, concurrency } = options
  const limit = new AdaptiveLimit(concurrency)
  const fatal = new AbortController()
  /** Resolves when every batch so far is delivered and saved. */
  let done = Promise.resolve()
  const from = { number: checkpoint.nextBatch, position: checkpoint.position }
  let complete = true
  for await (const batch of batchesOf(source, from, checkpoint.batchSize)) {
    await limit.enter()
    if (stop.aborted || fatal.signal.aborted) {
      complete = false
      break
    }
    const delivered = options.deliver(batch, limit)
    const before = done
    done = (async () => {
      // A rejection of `delivered` must have a handler while an earlier batch is still in flight.
      const [result] = await Promise.allSettled([delivered, before])
      await before
      if (result.status === "rejected") throw result.reason
      await save(options, batch, result.value)
      options.onProgress(checkpoint, limit.size)
    })()
    // A batch keeps its place until it is saved, so batches that wait for an earlier one cannot pile up.
    done.then(
      () => limit.leave(),
      () => {
        fatal.abort()
        limit.leave()
      },
    )
  }
  await done
  if (complete) {
    checkpoint.finished = true
    await writeCheckpoint(options.statePath, checkpoint)
    options.onProgress(checkpoint, limit.size)
  }
  return complete
}

async function save(
  { checkpoint, statePath, failures }: ImportOptions,
  batch: ImportBatch,
  failed: Failure[],
): Promise<void> {
  const rejected: FailedRecord[] = failed.map(({ index, error, code, field }) => {
    return { place: batch.places[index] ?? "", error, code, field, signal: batch.signals[index] ?? {} }
  })
  const records = [...batch.unreadable, ...rejected]
  // The failures file comes first: the checkpoint says how many of its bytes count.
  await failures.append(records)
  checkpoint.nextBatch = batch.number + 1
  checkpoint.position = batch.position
  checkpoint.read += batch.read
  checkpoint.stored += batch.signals.length - rejected.length
  checkpoint.failed += records.length
  for (const { error } of records) tally(checkpoint.reasons, error)
  for (const [kind, count] of Object.entries(batch.skipped)) tally(checkpoint.skipped, kind, count)
  checkpoint.failureBytes = failures.bytes
  await writeCheckpoint(statePath, checkpoint)
}
