import type { FailedRecord } from "../failures.ts"
import type { Source } from "../sources/source.ts"
import { tally } from "./tally.ts"

/** Records of a source that are sent together, with what is told of those around them that are not sent. */
export interface ImportBatch {
  number: number
  signals: Record<string, unknown>[]
  /** Where each signal comes from, for people. */
  places: string[]
  faults: FailedRecord[]
  skipped: Record<string, number>
  /** Records read for it, of whatever kind. */
  read: number
  /** Where the next batch begins. */
  position: string
}

/** So that a batch stays under the service's 8 MiB with room for what JSON adds. */
const MAX_CHARACTERS = 2 * 1024 * 1024

/**
 * Cuts a source into batches. The same source, position and size give the same batches at every run.
 *
 * @param from number of the first batch, and where its records begin
 */
export async function* batchesOf(
  source: Source,
  from: { number: number; position: string | null },
  batchSize: number,
): AsyncGenerator<ImportBatch> {
  let batch = emptyBatch(from.number)
  let characters = 0
  for await (const record of source.records(from.position ?? undefined)) {
    batch.read++
    batch.position = record.position
    if ("signal" in record) {
      batch.signals.push(record.signal)
      batch.places.push(record.place)
      characters += JSON.stringify(record.signal).length
    } else if ("skipped" in record) tally(batch.skipped, record.skipped)
    else batch.faults.push({ place: record.place, error: record.fault, ...(record.kept && { signal: record.kept }) })
    // Faults count, too, so that a source of nothing else stays in bounds.
    if (batch.signals.length + batch.faults.length < batchSize && characters < MAX_CHARACTERS) continue
    yield batch
    batch = emptyBatch(batch.number + 1)
    characters = 0
  }
  if (batch.read > 0) yield batch
}

const emptyBatch = (number: number): ImportBatch => ({
  number,
  signals: [],
  places: [],
  faults: [],
  skipped: {},
  read: 0,
  position: "",
})
