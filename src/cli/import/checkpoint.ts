import { randomUUID } from "node:crypto"
import { mkdir, readFile } from "node:fs/promises"
import { dirname } from "node:path"
import { replaceFile } from "../files.ts"
import { UsageError } from "../usage.ts"

/**
 * The progress of an import of one source to one service. Every run splits the source into the same batches,
 * and the Idempotency-Key of a batch comes from its number, so that a batch sent again is stored once.
 */
export interface Checkpoint {
  version: 2
  importId: string
  /** Fingerprint of the source; a changed source has another one. */
  source: string
  /** Origin of the service that receives the batches. */
  service: string
  /** A batch of this import in the ledger of the service. It shows whether the database is still the same. */
  transaction: string | null
  batchSize: number
  /** The next batch to send, and the position of its first record. */
  nextBatch: number
  position: string | null
  finished: boolean
  read: number
  stored: number
  failed: number
  /** Skipped records by kind. */
  skipped: Record<string, number>
  /** Failed signals by their error. */
  reasons: Record<string, number>
  /** Names that are not fields of a signal: the service did not store them. */
  ignoredFields: string[]
  /** Bytes of the failures file that belong to the batches before `nextBatch`. */
  failureBytes: number
}

export const newCheckpoint = (source: string, service: string, batchSize: number): Checkpoint => ({
  version: 2,
  importId: randomUUID(),
  source,
  service,
  transaction: null,
  batchSize,
  nextBatch: 0,
  position: null,
  finished: false,
  read: 0,
  stored: 0,
  failed: 0,
  skipped: {},
  reasons: {},
  ignoredFields: [],
  failureBytes: 0,
})

/**
 * Reads a state file; undefined when there is none.
 *
 * @throws {UsageError} the file is not a state file, or comes from an earlier version
 */
export async function readCheckpoint(path: string): Promise<Checkpoint | undefined> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined
    throw error
  })
  if (text === undefined) return undefined
  const state = readState(text)
  if (state?.version === 2) return state as Checkpoint
  if (state?.version === 1)
    throw new UsageError(
      `${path} was written by an earlier version, which did not save the address of the service. --restart sends everything again (a signal with a dedupe_key is stored once); --state FILE uses another file.`,
    )
  throw new UsageError(`${path} is not the state of an import. Name another file with --state.`)
}

function readState(text: string): { version?: unknown } | undefined {
  try {
    return JSON.parse(text) ?? undefined
  } catch {
    return undefined
  }
}

/** Writes the file completely or not at all. The checkpoint is on the disk when this resolves. */
export async function writeCheckpoint(path: string, checkpoint: Checkpoint): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await replaceFile(path, `${JSON.stringify(checkpoint, null, 2)}\n`)
}
