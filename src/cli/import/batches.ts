import { createHash, type Hash } from "node:crypto"
import { encodeOrFail } from "../../client/deliver.ts"
import type { FailedRecord } from "../files/failures.ts"
import type { Source, SourceRecord } from "../sources/reading/source.ts"

/** Signals that are sent together, and the records between them that are not sent. */
export interface ImportBatch {
  number: number
  /** Signals as JSON, as they are sent. */
  texts: string[]
  /** The place of each signal in the source, for messages. */
  places: string[]
  /** The records that the source could not read, or that are not sent since JSON cannot hold them. */
  unreadable: FailedRecord[]
  /** How many records were skipped of each kind. */
  skipped: Record<string, number>
  /** Records read, of every kind. */
  read: number
  /** The position where the next batch starts. */
  position: string
  /** What was read up to the end of this batch. */
  end: Beginning
  /** The first record could not be read by an earlier run, and counts anew. */
  isMended: boolean
  /** The batch is smaller than others, since the source ended, or could not be read on. */
  isLast: boolean
}

/** The beginning of a source: the records before a position. It shows whether a source is still the same. */
export interface Beginning {
  read: number
  /** SHA-256 of these records. */
  digest: string
  /**
   * The same without the last record, where that could not be read: a line that was not yet written to its
   * end is another record in the next run.
   */
  digestBefore?: string | undefined
  /** Why the last record could not be read. */
  lastError?: string | undefined
  /** SHA-256 of the first `HEAD_RECORDS` records, where so many have been read. */
  head?: string | undefined
}

/** A shorter beginning is not enough to say that two files are the same. */
export const HEAD_RECORDS = 10

/** Where a run begins. */
export interface From {
  /** Of the first batch. */
  number: number
  /** What earlier runs have read; null at the beginning. */
  beginning: Beginning | null
  /** A batch that an earlier run cut short, and may have sent: it is cut there again. */
  short?: { number: number; read: number } | undefined
}

/** The source does not begin with what was read before. Nothing of it was sent. */
export class BeginningChanged extends Error {}

/**
 * Keeps a batch under the 8 MiB of the service: a character has at most three bytes in UTF-8, and JSON adds
 * some.
 */
const MAX_CHARACTERS = 2 * 1024 * 1024

/**
 * Splits a source into batches. The same source, beginning and size give the same batches in every run. At an
 * error of the source the records before it are yielded first.
 *
 * @throws {BeginningChanged}
 */
export async function* batchesOf(
  source: Source,
  { number, beginning, short }: From,
  batchSize: number,
): AsyncGenerator<ImportBatch> {
  const records = source.records()
  const reader = new BeginningReader()
  let batch = emptyBatch(number)
  let characters = 0
  const take = (record: SourceRecord & { position: string }) => {
    const encoded = "signal" in record ? encodeOrFail(record.signal) : undefined
    characters += reader.add(record, encoded?.text)
    addTo(batch, record, encoded)
  }
  const isFull = () =>
    // Unreadable records count too: a source that has no others must not grow one batch without bound.
    batch.texts.length + batch.unreadable.length >= batchSize ||
    characters >= MAX_CHARACTERS ||
    (short?.number === batch.number && batch.read >= short.read)
  try {
    const changed = await skip(records, reader, beginning)
    if (changed) {
      take(changed)
      batch.isMended = true
    }
    for await (const record of records) {
      take(record)
      if (!isFull()) continue
      yield { ...batch, end: reader.end() }
      batch = emptyBatch(batch.number + 1)
      characters = 0
    }
  } catch (error) {
    if (batch.read > 0) yield { ...batch, end: reader.end(), isLast: true }
    throw error
  } finally {
    // `skip` does not do it, and an open source, such as a connection, keeps the process running.
    await records.return(undefined)
  }
  if (batch.read > 0) yield { ...batch, end: reader.end(), isLast: true }
}

/**
 * Reads the records of earlier runs, and compares them.
 *
 * @returns the last of them, where it could not be read before and has changed
 */
async function skip(
  records: AsyncGenerator<SourceRecord & { position: string }>,
  reader: BeginningReader,
  beginning: Beginning | null,
): Promise<(SourceRecord & { position: string }) | undefined> {
  if (beginning === null) return
  const { read, digest, digestBefore } = beginning
  while (reader.read < read) {
    const before = reader.read === read - 1 ? reader.end().digest : ""
    const { value, done } = await records.next()
    if (done) {
      if (before !== "" && before === digestBefore) return
      throw new BeginningChanged()
    }
    const isMended = before !== "" && before === digestBefore && reader.digestWith(value) !== digest
    if (isMended) return value
    reader.add(value)
  }
  if (reader.end().digest !== digest) throw new BeginningChanged()
}

/** Digests the records of a source one by one. */
export class BeginningReader {
  readonly #hash: Hash = createHash("sha256")
  /** Read, and not yet in the digest: one long text takes less time than many short ones. */
  #texts = ""
  read = 0
  #digestBefore: string | undefined
  #lastError: string | undefined
  #head: string | undefined

  /**
   * @param json the signal of the record, where it is encoded already
   * @returns the characters of the record
   */
  add(record: SourceRecord, json?: string): number {
    const text = json === undefined ? textOf(record) : `${json}\n`
    this.#digestBefore = "error" in record ? this.#digest() : undefined
    this.#lastError = "error" in record ? record.error : undefined
    this.#texts += text
    if (this.#texts.length > MAX_CHARACTERS) this.#flush()
    if (++this.read === HEAD_RECORDS) this.#head = this.#digest()
    return text.length
  }

  digestWith(record: SourceRecord): string {
    this.#flush()
    return this.#hash.copy().update(textOf(record)).digest("hex")
  }

  end(): Beginning {
    return {
      read: this.read,
      digest: this.#digest(),
      digestBefore: this.#digestBefore,
      lastError: this.#lastError,
      head: this.#head,
    }
  }

  #flush(): void {
    if (this.#texts !== "") this.#hash.update(this.#texts)
    this.#texts = ""
  }

  #digest(): string {
    this.#flush()
    return this.#hash.copy().digest("hex")
  }
}

/** Without the place, which has the name of the file: a copy is the same source. */
function textOf(record: SourceRecord): string {
  if ("signal" in record) return `${encodeOrFail(record.signal).text ?? JSON.stringify(record.signal)}\n`
  if ("skipped" in record) return `skipped ${record.skipped}\n`
  return `error ${JSON.stringify(record.kept ?? record.error)}\n`
}

function addTo(
  batch: ImportBatch,
  record: SourceRecord & { position: string },
  encoded: ReturnType<typeof encodeOrFail> | undefined,
): void {
  const { place } = record
  batch.read++
  batch.position = record.position
  if ("skipped" in record) countKind(batch.skipped, record.skipped)
  else if ("error" in record)
    batch.unreadable.push({
      place,
      error: record.error,
      code: "unreadable_record",
      ...(record.kept && { signal: record.kept }),
    })
  else if (encoded?.failure) batch.unreadable.push({ place, ...encoded.failure, signal: record.signal })
  else if (encoded) {
    batch.texts.push(encoded.text)
    batch.places.push(place)
  }
}

const emptyBatch = (number: number): ImportBatch => ({
  number,
  texts: [],
  places: [],
  unreadable: [],
  skipped: {},
  read: 0,
  position: "",
  end: { read: 0, digest: "" },
  isMended: false,
  isLast: false,
})

/** Names that are counted separately; the state file holds them, so there is a bound. */
const MAX_NAMES = 50
const OTHERS = "others"

/** Adds to the count of a name. Names beyond the bound are counted together. */
export function countKind(counts: Record<string, number>, name: string, by = 1): void {
  const known = Object.hasOwn(counts, name) || Object.keys(counts).length < MAX_NAMES ? name : OTHERS
  counts[known] = (counts[known] ?? 0) + by
}
