import type { FailedRecord } from "../failures.ts"
import type { Source } from "../sources/source.ts"
import { tally } from "./tally.ts"

/** Signals that are sent together, and the records between them that are not sent. */
export interface ImportBatch {
  number: number
  signals: Record<string, unknown>[]
  /** The place of each signal in the source, for messages. */
  places: string[]
  /** The records that the source could not read. */
  unreadable: FailedRecord[]
  /** How many records were skipped of each kind. */
  skipped: Record<string, number>
  /** Records read, of every kind. */
  read: number
  /** The position where the next batch starts. */
  position: string
}

/**
 * Keeps a batch under the 8 MiB of the service: a character has at most three bytes in UTF-8, and JSON adds
 * some.
 */
const MAX_CHARACTERS = 2 * 1024 * 1024

/**
 * Splits a source into batches. The same source, position and size give the same batches in every run.
 *
 * @param from number of the first batch, and the position of its first record
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
    else
      batch.unreadable.push({
        place: record.place,
        error: record.error,
        code: "unreadable_record",
        ...(record.kept && { signal: record.kept }),
      })
    // Unreadable records count too: a source that has no others must not grow one batch without bound.
    if (batch.signals.length + batch.unreadable.length < batchSize && characters < MAX_CHARACTERS) continue
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
  unreadable: [],
  skipped: {},
  read: 0,
  position: "",
})
