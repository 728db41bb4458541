import { createHash } from "node:crypto"
import { readdir } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import type { SignalClient } from "../../client/index.ts"
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
  /** Receives a sentence when a state is taken over or left. */
  tell: (sentence: string) => void
}

export interface State {
  path: string
  checkpoint: Checkpoint
}

/** Digits of SHA-256 in the name of a state file. */
const DIGEST_LENGTH = 8

/**
 * Finds the state of this source at this service, or begins a new one.
 *
 * A state belongs to one service, known by its address and by its ledger: where the ledger has no batch of the import any more, the
 * database behind the address is another one, and the import begins anew. A service under a second address keeps its state.
 *
 * @throws {UsageError} `--state` names the state of another source, service or batch size, or nothing says which service it is
 */
export async function openState(options: StateOptions): Promise<State> {
  const own = options.path ?? statePath(options.source, options.service)
  if (options.restart) return begin(options, own)
  const found = await readCheckpoint(own)
  if (found) return resume(options, { path: own, checkpoint: found })
  if (options.path !== undefined) return begin(options, own)
  return (await takeOver(options)) ?? begin(options, own)
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
      `${path} belongs to another source, or the source has changed since. --restart begins anew, --state names another file.`,
    )
  if (checkpoint.batchSize !== batchSize && !checkpoint.finished)
    throw new UsageError(
      `This import began with --batch-size ${checkpoint.batchSize} and can only continue with it. --restart begins anew.`,
    )
  const { transaction } = checkpoint
  const isKnown = transaction === null ? checkpoint.service === service : await knowsBatch(client, transaction)
  if (isKnown === true) return state
  if (checkpoint.service !== service)
    throw new UsageError(
      `${path} belongs to an import to ${checkpoint.service}, not to ${service}. --state names another file, --restart begins anew.`,
    )
  if (isKnown === undefined)
    throw new UsageError(
      `${service} shows this key no batch of the import in ${path}: the database is another one, or the key is. Use a key with the scope "read", or --restart to send everything again.`,
    )
  tell(`${service} has no batch of the import in ${path}, so its database is another one. The import begins anew.`)
  return begin(options, path)
}

/** The state of the same source at the same service under another address, as http://localhost:8002 and http://127.0.0.1:8002. */
async function takeOver(options: StateOptions): Promise<State | undefined> {
  const { source, client, service, tell } = options
  const prefix = sourcePath(source)
  const names = await readdir(dirname(prefix)).catch(() => [])
  // An earlier version named its state by the source alone: reading it says what to do.
  await readCheckpoint(`${prefix}.json`)
  for (const name of names.filter((one) => one.startsWith(`${basename(prefix)}-`) && one.endsWith(".json"))) {
    const path = join(dirname(prefix), name)
    const checkpoint = await readCheckpoint(path)
    if (!checkpoint?.transaction || checkpoint.source !== source.fingerprint) continue
    if ((await knowsBatch(client, checkpoint.transaction)) !== true) continue
    tell(`${service} is the service that this source was imported to as ${checkpoint.service}.`)
    return resume(options, { path, checkpoint })
  }
  return undefined
}

/** In `.signals` of the current folder, by the name of the source, its fingerprint and the service. */
const statePath = (source: StateOptions["source"], service: string) => `${sourcePath(source)}-${digest(service)}.json`

const sourcePath = ({ name, fingerprint }: StateOptions["source"]) =>
  join(".signals", `${name.replace(/[^\w.-]+/g, "_").slice(-60)}-${digest(fingerprint)}`)

const digest = (text: string) => createHash("sha256").update(text).digest("hex").slice(0, DIGEST_LENGTH)
