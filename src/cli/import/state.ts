import { createHash } from "node:crypto"
import { readdir } from "node:fs/promises"
import { dirname, join } from "node:path"
import { type SignalClient, UnauthorizedError } from "../../client/index.ts"
import { FolderInUse, lockOwnFolder } from "../../client/spool/lock.ts"
import type { OpenedSource } from "../sources/open.ts"
import type { Source } from "../sources/reading/source.ts"
import { UsageError } from "../terminal/errors.ts"
import { BeginningReader, HEAD_RECORDS } from "./batches.ts"
import { type Checkpoint, newCheckpoint, readCheckpoint, writeCheckpoint } from "./checkpoint.ts"
import { batchKey, isKeyReused } from "./deliver.ts"

export interface StateOptions {
  client: SignalClient
  /** Address of the service. */
  service: string
  /** Digest of the API key. */
  key: string
  source: OpenedSource
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
 * service keeps its state under a second address, and a file under a second name.
 *
 * @throws {UsageError} another import has the state; `--state` names the state of another source, service or
 *   batch size; or the key cannot tell which service it is, or which batches it has
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
  if (options.restart) return beginState(options, own)
  const found = await readCheckpoint(own)
  if (found) return resume(options, { path: own, checkpoint: found })
  if (options.path !== undefined) return beginState(options, own)
  return (await takeOver(options, lock)) ?? beginState(options, own)
}

async function lockState(path: string): Promise<() => Promise<void>> {
  return await lockOwnFolder(`${path}.lock`, `The state ${path}`).catch((error) => {
    if (!(error instanceof FolderInUse)) throw error
    throw new UsageError(
      `${error.message} Wait until that import has ended, or name another file with --state.`,
    )
  })
}

/** Begins an import of the whole source. */
export async function beginState(
  { source, service, key, batchSize }: Omit<StateOptions, "path">,
  path: string,
): Promise<State> {
  const { kind, name, fingerprint } = source
  const checkpoint = newCheckpoint({ kind, name, source: fingerprint, service, key, batchSize })
  await writeCheckpoint(path, checkpoint)
  return { path, checkpoint }
}

async function resume(options: StateOptions, state: State): Promise<State> {
  const { client, service, source, batchSize, tell } = options
  const { path, checkpoint } = state
  if (checkpoint.kind !== source.kind)
    throw new UsageError(
      `${path} belongs to an import of ${checkpoint.kind}. Name another file with --state, or start again with --restart.`,
    )
  if (checkpoint.batchSize !== batchSize && !checkpoint.finished)
    throw new UsageError(
      `This import began with --batch-size ${checkpoint.batchSize} and can only continue with it. Start again with --restart.`,
    )
  const { transaction } = checkpoint
  const isKnown =
    transaction === null ? checkpoint.service === service : await knowsBatch(client, transaction)
  if (isKnown === true) {
    await checkKey(options, state)
    return { path, checkpoint: { ...checkpoint, key: options.key, batchSize } }
  }
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
  return beginState(options, path)
}

/**
 * Idempotency keys belong to a caller: under another one, a batch that may be stored would be stored again.
 *
 * @throws {UsageError} such a batch may be stored, and the caller is another one
 */
async function checkKey({ client, key }: StateOptions, { path, checkpoint }: State): Promise<void> {
  if (checkpoint.key === key || !checkpoint.inDoubt || (await isSameCaller(client, checkpoint))) return
  throw new UsageError(
    `The import in ${path} was interrupted under another API key, and the service may have batches that it did not note. With this key they would be stored again. Continue with the key that began it, or one of the same name. If it is gone, --restart sends everything again (a signal with a dedupe_key is stored once).`,
  )
}

/**
 * Whether this key has the caller of the import: a key that was replaced keeps its name. The service refuses
 * another batch under the idempotency key of a stored one. To any other caller it answers that the signal,
 * which breaks a rule, was not stored.
 */
async function isSameCaller(client: SignalClient, { importId, nextBatch }: Checkpoint): Promise<boolean> {
  if (nextBatch === 0) return false
  try {
    const idempotencyKey = batchKey(importId, nextBatch - 1)
    await client.createBatch([{ context_window_id: " " }], { idempotencyKey, lenient: true })
    return false
  } catch (error) {
    if (isKeyReused(error)) return true
    throw error
  }
}

/**
 * Returns whether the ledger of the service has a batch; undefined when the key cannot tell: with only the
 * scope `ingest` it sees no batches of other keys.
 */
async function knowsBatch(client: SignalClient, transactionId: string): Promise<boolean | undefined> {
  try {
    if (await client.batch(transactionId)) return true
    // Whether the key can read. The statistics refuse a large table.
    for await (const _ of client.list({ pageSize: 1 })) break
    return false
  } catch (error) {
    if (error instanceof UnauthorizedError && error.status === 403) return undefined
    throw error
  }
}

/**
 * Finds the state of this source under another name: at another address of the service, such as
 * http://127.0.0.1:8002 for http://localhost:8002, or of a file that was moved or copied.
 */
async function takeOver(
  options: StateOptions,
  lock: (path: string) => Promise<void>,
): Promise<State | undefined> {
  const { source, client, service, tell } = options
  const folder = dirname(statePath(source, service))
  const names = await readdir(folder).catch(() => [])
  const heads = new HeadReader(source)
  for (const name of names.filter((one) => one.endsWith(".json"))) {
    const path = join(folder, name)
    const checkpoint = await readCheckpoint(path).catch(() => undefined)
    if (!checkpoint || checkpoint.kind !== source.kind) continue
    const isSamePlace = checkpoint.source === source.fingerprint
    if (!isSamePlace && !(await heads.matches(checkpoint))) continue
    const { transaction } = checkpoint
    if (checkpoint.service !== service && (!transaction || (await knowsBatch(client, transaction)) !== true))
      continue
    await lock(path)
    tell(
      isSamePlace
        ? `${service} is the same service as ${checkpoint.service}, where this import began.`
        : `${source.name} begins with the ${checkpoint.beginning?.read} records that were imported from ${checkpoint.name}, and continues behind them. --restart sends all of it.`,
    )
    // The former holder may have continued until the lock was taken, so the file is read again.
    return resume(options, { path, checkpoint: (await readCheckpoint(path)) ?? checkpoint })
  }
  return undefined
}

/** Says whether a file begins with what was read of another one. */
class HeadReader {
  readonly #source: Source
  /** Only files can be read twice. Of a Slack history each message has its dedupe_key. */
  readonly #canRead: boolean
  #head: Promise<string | undefined> | undefined

  constructor({ source, kind, name }: OpenedSource) {
    this.#source = source
    this.#canRead = kind !== "sql" && name !== "-" && !source.namesItsSignals
  }

  async matches({ beginning }: Checkpoint): Promise<boolean> {
    if (!this.#canRead || !beginning?.head) return false
    this.#head ??= this.#digestOf(HEAD_RECORDS)
    return (
      (await this.#head) === beginning.head && (await this.#digestOf(beginning.read)) === beginning.digest
    )
  }

  /** The digest of the first records; undefined when the source has fewer. */
  async #digestOf(count: number): Promise<string | undefined> {
    const reader = new BeginningReader()
    try {
      for await (const record of this.#source.records()) {
        reader.add(record)
        if (reader.read === count) return reader.end().digest
      }
    } catch {
      // The import itself reports what is wrong with the source.
    }
    return undefined
  }
}

/** A file in `.signals` of the current folder, named by the source and the service. */
const statePath = ({ name, fingerprint }: OpenedSource, service: string) =>
  join(
    ".signals",
    `${name.replace(/[^\w.-]+/g, "_").slice(-60)}-${digest(fingerprint)}-${digest(service)}.json`,
  )

export const digest = (text: string, length = DIGEST_LENGTH) =>
  createHash("sha256").update(text).digest("hex").slice(0, length)
