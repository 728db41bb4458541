import { createHash } from "node:crypto"
import { readdir } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import type { SignalClient } from "../../client/index.ts"
import { FolderInUse, lockOwnFolder } from "../../client/spool/lock.ts"
import { UsageError } from "../usage.ts"
import { type Checkpoint, newCheckpoint, readCheckpoint, writeCheckpoint } from "./checkpoint.ts"
import { knowsBatch } from "./service.ts"

export interface StateOptions {
  client: SignalClient
  /** Origin of the service. */
  service: string
  source: { name: string; fingerprint: string }
  batchSize: number
  /** `--state` */
  path: string | undefined
  restart: boolean
  /** Receives a sentence when a state is adopted or abandoned. */
  tell: (sentence: string) => void
}

export interface State {
  path: string
  checkpoint: Checkpoint
}

/** A state that no other process can open until it is released, or until this process ends. */
export interface LockedState extends State {
  release(): Promise<void>
}

/** Hex digits of SHA-256 in the name of a state file. */
const DIGEST_LENGTH = 8

/**
 * Finds the state of this source at this service, or starts a new one, and locks it: two imports that share a
 * state would send batches under the same keys and overwrite each other's progress.
 *
 * A state belongs to one service, identified by its address and its ledger. If the ledger no longer has a
 * batch of the import, the database behind the address has been replaced, and the import starts again. A
 * service keeps its state under a second address.
 *
 * @throws {UsageError} another import has the state; `--state` names the state of another source, service or
 *   batch size; or the key
 * cannot tell which service it is
 */
export async function openState(options: StateOptions): Promise<LockedState> {
  const own = options.path ?? statePath(options.source, options.service)
  const releases = [await lockState(own)]
  const release = async () => {
    for (const one of releases.splice(0)) await one()
  }
  try {
    return {
      ...(await findState(options, own, (path) => lockState(path).then((one) => void releases.push(one)))),
      release,
    }
  } catch (error) {
    await release()
    throw error
  }
}

async function findState(
  options: StateOptions,
  own: string,
  lock: (path: string) => Promise<void>,
): Promise<State> {
  if (options.restart) return begin(options, own)
  const found = await readCheckpoint(own)
  if (found) return resume(options, { path: own, checkpoint: found })
  if (options.path !== undefined) return begin(options, own)
  return (await takeOver(options, lock)) ?? begin(options, own)
}

async function lockState(path: string): Promise<() => Promise<void>> {
  return await lockOwnFolder(`${path}.lock`, `The state ${path}`).catch((error) => {
    if (!(error instanceof FolderInUse)) throw error
    throw new UsageError(
      `${error.message} Wait until that import has ended, or name another file with --state.`,
    )
  })
}

async function begin({ source, service, batchSize }: StateOptions, path: string): Promise<State> {
  const checkpoint = newCheckpoint(source.fingerprint, service, batchSize)
  await writeCheckpoint(path, checkpoint)
  return { path, checkpoint }
}

async function resume(options: StateOptions, state: State): Promise<State> {
  const { client, service, source, batchSize, tell } = options
  const { path, checkpoint } = state
  if (checkpoint.source !== source.fingerprint)
    throw new UsageError(
      `${path} belongs to another source, or the source has changed. Start again with --restart, or name another file with --state.`,
    )
  if (checkpoint.batchSize !== batchSize && !checkpoint.finished)
    throw new UsageError(
      `This import began with --batch-size ${checkpoint.batchSize} and can only continue with it. Start again with --restart.`,
    )
  const { transaction } = checkpoint
  const isKnown =
    transaction === null ? checkpoint.service === service : await knowsBatch(client, transaction)
  if (isKnown === true) return state
  if (checkpoint.service !== service)
    throw new UsageError(
      `${path} belongs to an import to ${checkpoint.service}, not to ${service}. Name another file with --state, or start again with --restart.`,
    )
  if (isKnown === undefined)
    throw new UsageError(
      `${service} shows this key no batch of the import in ${path}: the database or the key is another one. Use a key with the scope "read", or send everything again with --restart.`,
    )
  tell(
    `${service} has no batch of the import in ${path}, so its database is another one. The import starts again.`,
  )
  return begin(options, path)
}

/**
 * Finds the state of this source at this service under another address, such as http://127.0.0.1:8002 for
 * http://localhost:8002.
 */
async function takeOver(
  options: StateOptions,
  lock: (path: string) => Promise<void>,
): Promise<State | undefined> {
  const { source, client, service, tell } = options
  const prefix = sourcePath(source)
  const names = await readdir(dirname(prefix)).catch(() => [])
  // An earlier version named its state file by the source alone. Reading that file throws the error that says
  // what to do.
  await readCheckpoint(`${prefix}.json`)
  for (const name of names.filter((one) => one.startsWith(`${basename(prefix)}-`) && one.endsWith(".json"))) {
    const path = join(dirname(prefix), name)
    const checkpoint = await readCheckpoint(path)
    if (!checkpoint?.transaction || checkpoint.source !== source.fingerprint) continue
    if ((await knowsBatch(client, checkpoint.transaction)) !== true) continue
    await lock(path)
    tell(`${service} is the same service as ${checkpoint.service}, where this import began.`)
    // The former holder may have continued until the lock was taken, so the file is read again.
    return resume(options, { path, checkpoint: (await readCheckpoint(path)) ?? checkpoint })
  }
  return undefined
}

/** A file in `.signals` of the current folder, named by the source, its fingerprint and the service. */
const statePath = (source: StateOptions["source"], service: string) =>
  `${sourcePath(source)}-${digest(service)}.json`

const sourcePath = ({ name, fingerprint }: StateOptions["source"]) =>
  join(".signals", `${name.replace(/[^\w.-]+/g, "_").slice(-60)}-${digest(fingerprint)}`)

const digest = (text: string) => createHash("sha256").update(text).digest("hex").slice(0, DIGEST_LENGTH)
