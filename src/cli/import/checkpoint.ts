import { randomUUID } from "node:crypto"
import { mkdir, readFile } from "node:fs/promises"
import { dirname } from "node:path"
import type { WrittenFailures } from "../files/failures.ts"
import { replaceFile } from "../files/files.ts"
import { UsageError } from "../terminal/errors.ts"
import type { Beginning, From } from "./batches.ts"

/**
 * The progress of an import of one source to one service. Every run splits the source into the same batches,
 * and the Idempotency-Key of a batch comes from its number, so that a batch sent again is stored once.
 */
export interface Checkpoint {
  version: 3
  importId: string
  /** The kind of the source, such as `csv`. */
  kind: string
  /** For people. */
  name: string
  /** Fingerprint of the source's path or query. */
  source: string
  /** Address of the service that receives the batches. */
  service: string
  /** Digest of the API key under which the batches are sent: idempotency keys belong to a caller. */
  key: string
  /** The service may have batches that are not saved here. */
  inDoubt: boolean
  /** A batch of this import in the ledger of the service. It shows whether the database is still the same. */
  transaction: string | null
  batchSize: number
  /** The next batch to send. */
  nextBatch: number
  /** What was read before that batch. */
  beginning: Beginning | null
  /** The position of its first record. */
  position: string | null
  /** The last batch that ended with the source. */
  short?: From["short"]
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
  /** The failures file, as of the last batch that was saved; null where the import has none yet. */
  failures: WrittenFailures | null
}

export const newCheckpoint = (
  begun: Pick<Checkpoint, "kind" | "name" | "source" | "service" | "key" | "batchSize">,
): Checkpoint => ({
  version: 3,
  importId: randomUUID(),
  ...begun,
  inDoubt: false,
  transaction: null,
  nextBatch: 0,
  beginning: null,
  position: null,
  finished: false,
  read: 0,
  stored: 0,
  failed: 0,
  skipped: {},
  reasons: {},
  ignoredFields: [],
  failures: null,
})

/**
 * Reads a state file; undefined when there is none.
 *
 * @throws {UsageError} the file is not a state file, or comes from another version
 */
export async function readCheckpoint(path: string): Promise<Checkpoint | undefined> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined
    throw error
  })
  if (text === undefined) return undefined
  const state = readState(text)
  if (state?.version === 3) return state as Checkpoint
  if (typeof state?.version === "number")
    throw new UsageError(
      `${path} was written by another version of this program. --restart sends everything again (a signal with a dedupe_key is stored once); --state FILE uses another file.`,
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
