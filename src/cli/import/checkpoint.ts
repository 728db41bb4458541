import { randomUUID } from "node:crypto"
import { mkdir, open, readFile, rename } from "node:fs/promises"
import { dirname } from "node:path"

/** How far an import has come. Batches are cut the same way at every run, and each has its key from its number: so none is stored twice. */
export interface Checkpoint {
  version: 1
  importId: string
  /** What was read, in such detail that another or a changed source is known by it. */
  source: string
  batchSize: number
  /** The next batch to be sent, and where its records begin. */
  nextBatch: number
  position: string | null
  finished: boolean
  read: number
  stored: number
  failed: number
  skipped: Record<string, number>
  /** Bytes of the failures file that belong to the batches before. */
  failureBytes: number
}

export const newCheckpoint = (source: string, batchSize: number): Checkpoint => ({
  version: 1,
  importId: randomUUID(),
  source,
  batchSize,
  nextBatch: 0,
  position: null,
  finished: false,
  read: 0,
  stored: 0,
  failed: 0,
  skipped: {},
  failureBytes: 0,
})

/** The checkpoint in a file, undefined when there is none. Throws `Error` with a sentence when it is no checkpoint. */
export async function readCheckpoint(path: string): Promise<Checkpoint | undefined> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined
    throw error
  })
  if (text === undefined) return undefined
  try {
    const checkpoint: Checkpoint = JSON.parse(text)
    if (checkpoint.version === 1) return checkpoint
  } catch {
    // Said below, as of any other file.
  }
  throw new Error(`${path} is no state of an import. --state names another file.`)
}

/** Written whole or not at all, and on the disk when this resolves. */
export async function writeCheckpoint(path: string, checkpoint: Checkpoint): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const file = await open(`${path}.new`, "w")
  try {
    await file.writeFile(`${JSON.stringify(checkpoint, null, 2)}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(`${path}.new`, path)
}
