import { type Failure, UnauthorizedError } from "../../client/index.ts"
import { parseJson } from "../../signals/json.ts"
import type { FailedRecord, FailuresFile } from "../files/failures.ts"
import type { Source } from "../sources/reading/source.ts"
import { AdaptiveLimit } from "./adaptive-limit.ts"
import { batchesOf, countKind, type ImportBatch } from "./batches.ts"
import { type Checkpoint, writeCheckpoint } from "./checkpoint.ts"
import type { Deliver } from "./deliver.ts"

export interface ImportRun {
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
 * source. When this ends, no batch is in flight.
 *
 * @returns whether the source was read to its end
 * @throws the error of `deliver` or of the source; in the latter case all records before it are sent, and
 *   saved in the checkpoint
 */
export async function runImport(run: ImportRun): Promise<boolean> {
  const { source, checkpoint, stop } = run
  const line = new SaveLine(run)
  const { nextBatch: number, beginning, short } = checkpoint
  const batches = batchesOf(source, { number, beginning, short }, checkpoint.batchSize)
  const ended = AbortSignal.any([stop, line.failed])
  let complete = true
  let sourceError: { error: unknown } | undefined
  try {
    for (;;) {
      // A source such as a pipe can be silent for long.
      const step = await unlessAborted(batches.next(), ended)
      if (step?.done) break
      const isSent = step !== undefined && (await line.send(step.value))
      if (isSent) continue
      complete = false
      break
    }
  } catch (error) {
    sourceError = { error }
  }
  // Not awaited: the source may be silent.
  batches.return(undefined).catch(() => {})
  await line.end()
  checkpoint.finished = complete && !sourceError
  checkpoint.inDoubt = false
  await writeCheckpoint(run.statePath, checkpoint)
  if (sourceError) throw sourceError.error
  if (complete) line.show()
  return complete
}

/** Sends batches side by side, and saves them one after the other. */
class SaveLine {
  readonly #run: ImportRun
  readonly #limit: AdaptiveLimit
  readonly #failed = new AbortController()
  /** Settles when every batch so far is delivered and saved. */
  #saved = Promise.resolve()
  readonly #inFlight = new Set<Promise<unknown>>()
  /** A batch in flight ended in another way than by the service's refusal. */
  #isInDoubt = false

  constructor(run: ImportRun) {
    this.#run = run
    this.#limit = new AdaptiveLimit(run.concurrency)
  }

  /** Aborts when a batch could not be delivered or saved. */
  get failed(): AbortSignal {
    return this.#failed.signal
  }

  show(): void {
    this.#run.onProgress(this.#run.checkpoint, this.#limit.size)
  }

  /** Sends a batch. Resolves with false when none may start any more. */
  async send(batch: ImportBatch): Promise<boolean> {
    const { stop, deliver, checkpoint, statePath } = this.#run
    await this.#limit.enter()
    if (stop.aborted || this.failed.aborted) return false
    if (batch.isLast || !checkpoint.inDoubt) {
      // The next run must cut the same last batch, although the source may then go on. And another key could
      // not tell whether the service has the batches in flight.
      this.#saved = this.#saved.then(() => {
        checkpoint.inDoubt = true
        if (batch.isLast) checkpoint.short = { number: batch.number, read: batch.read }
        return writeCheckpoint(statePath, checkpoint)
      })
      await this.#saved
    }
    const delivered = deliver(batch, this.#limit)
    this.#inFlight.add(delivered)
    this.#saved = this.#save(batch, delivered, this.#saved)
    // A batch keeps its slot until it is saved, so batches that wait for an earlier one cannot pile up.
    this.#saved.then(
      () => this.#limit.leave(),
      () => {
        this.#failed.abort()
        this.#limit.leave()
      },
    )
    return true
  }

  async #save(batch: ImportBatch, delivered: Promise<Failure[]>, before: Promise<void>): Promise<void> {
    // A rejection of `delivered` must have a handler while an earlier batch is still in flight.
    const [result] = await Promise.allSettled([delivered, before])
    this.#inFlight.delete(delivered)
    const isRefused = result.status === "rejected" && result.reason instanceof UnauthorizedError
    try {
      await before
      if (result.status === "rejected") throw result.reason
      await save(this.#run, batch, result.value)
      this.show()
    } catch (error) {
      if (!isRefused) this.#isInDoubt = true
      throw error
    }
  }

  /** Waits until no batch is in flight. @throws the first error; the batches before it are saved */
  async end(): Promise<void> {
    await Promise.allSettled(this.#inFlight)
    try {
      await this.#saved
    } catch (error) {
      const { checkpoint, statePath } = this.#run
      checkpoint.inDoubt = this.#isInDoubt
      await writeCheckpoint(statePath, checkpoint).catch(() => {})
      throw error
    }
  }
}

/**
 * The value of a promise, or undefined as soon as the signal aborts. Not by `Promise.race`: the longer-lived
 * of its promises would keep every batch of an import in memory.
 */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  const aborted = Promise.withResolvers<undefined>()
  const abort = () => aborted.resolve(undefined)
  if (signal.aborted) abort()
  signal.addEventListener("abort", abort, { once: true })
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener("abort", abort)
  }
}

async function save(
  { checkpoint, statePath, failures }: ImportRun,
  batch: ImportBatch,
  failed: Failure[],
): Promise<void> {
  const rejected: FailedRecord[] = failed.map(({ index, error, code, field }) => {
    const signal = parseJson(batch.texts[index] ?? "{}") as Record<string, unknown>
    return { place: batch.places[index] ?? "", error, code, field, signal }
  })
  const records = [...batch.unreadable, ...rejected]
  // The failures file comes first: the checkpoint says how many of its bytes count.
  await failures.append(records)
  if (batch.isMended) {
    checkpoint.read--
    checkpoint.failed--
    countKind(checkpoint.reasons, checkpoint.beginning?.lastError ?? "", -1)
  }
  checkpoint.nextBatch = batch.number + 1
  checkpoint.position = batch.position
  checkpoint.beginning = batch.end
  checkpoint.read += batch.read
  checkpoint.stored += batch.texts.length - rejected.length
  checkpoint.failed += records.length
  for (const { error } of records) countKind(checkpoint.reasons, error)
  for (const [kind, count] of Object.entries(batch.skipped)) countKind(checkpoint.skipped, kind, count)
  checkpoint.failures = failures.written
  await writeCheckpoint(statePath, checkpoint)
}
