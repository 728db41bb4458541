import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises"
import { join } from "node:path"
import { FolderInUse, lockFolder } from "../../client/spool/lock.ts"
import { nameNewFile, regularPath, replaceFile, writeAt } from "../files/files.ts"
import { UsageError } from "../terminal/errors.ts"
import { NOTHING, type Progress, type Sink } from "./sink.ts"

export interface FileOptions {
  path: string
  /** Replace a file that exists. */
  force: boolean
  /** Discard the saved progress. */
  restart: boolean
  /** What is exported: service, format and filter. A saved progress belongs to one such export. */
  settings: Record<string, unknown>
}

interface State extends Progress {
  version: 2
  settings: Record<string, unknown>
}

/**
 * A file that appears under its name when it is complete. Until then the folder `FILE.partial` has its bytes,
 * and a state that says how many of them count; a later run continues behind these.
 *
 * @throws {UsageError} the file exists, another process writes it, or the saved progress is that of another
 *   export
 */
export async function openFile({ path: given, force, restart, settings }: FileOptions): Promise<Sink> {
  const path = await regularPath(given, "--out")
  await refuseExisting(path, force)
  const folder = `${path}.partial`
  await refuseForeign(folder)
  const dataPath = join(folder, "data")
  const statePath = join(folder, "state.json")
  await mkdir(folder, { recursive: true }).catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(`${folder} cannot be made: ${error.message}.`)
  })
  const release = await lock(folder)
  let file: FileHandle
  let begun: Progress
  try {
    if (restart) await rm(statePath, { force: true })
    begun = (await readState(statePath, settings, folder)) ?? NOTHING
    file = await open(dataPath, begun.bytes > 0 ? "r+" : "w").catch((error) => {
      throw error.code === "ENOENT" ? lost(folder) : error
    })
    if ((await file.stat()).size < begun.bytes) throw lost(folder)
    // After an interruption the signals behind the last block are read again.
    await file.truncate(begun.bytes)
  } catch (error) {
    await release()
    throw error
  }
  let { bytes } = begun
  let isComplete = false
  return {
    name: path,
    begun,
    async append(block, progress) {
      await writeAt(file, block, bytes)
      await replaceFile(
        statePath,
        `${JSON.stringify({ version: 2, settings, ...progress } satisfies State)}\n`,
      )
      bytes = progress.bytes
    },
    async complete(end) {
      await writeAt(file, end, bytes)
      if (force) await rename(dataPath, await regularPath(path, "--out"))
      else await nameNewFile(dataPath, path, "--out")
      isComplete = true
    },
    async close() {
      await file.close()
      await release()
      if (isComplete) await rm(folder, { recursive: true, force: true })
    },
  }
}

async function refuseExisting(path: string, force: boolean): Promise<void> {
  if (!force && (await stat(path).catch(() => undefined)))
    throw new UsageError(`${path} exists already. Replace it with --force, or name another file with --out.`)
}

/** What this program puts into the folder: its data, its state with drafts of it, and its lock. */
const OWN = /^(data|state\.json(\.[0-9a-f]{8}\.new)?|\d+\.lock|[\w-]+\.(draft|sock))$/

/** @throws {UsageError} the folder holds what this program did not write */
async function refuseForeign(folder: string): Promise<void> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return []
    throw new UsageError(`${folder} is needed for the progress, and cannot be read: ${error.message}.`)
  })
  const isOwn = names.every((name) => OWN.test(name)) && names.some((name) => name.endsWith(".lock"))
  if (names.length > 0 && !isOwn)
    throw new UsageError(
      `${folder} is needed for the progress, and holds other files. Name another file with --out.`,
    )
}

async function lock(folder: string): Promise<() => Promise<void>> {
  return await lockFolder(folder, `The export ${folder}`).catch((error) => {
    if (!(error instanceof FolderInUse)) throw error
    throw new UsageError(
      `${error.message} Wait until that export has ended, or name another file with --out.`,
    )
  })
}

const lost = (folder: string) =>
  new UsageError(
    `${folder} has fewer bytes than its state says, so it cannot be continued. Start again with --restart.`,
  )

async function readState(
  path: string,
  settings: Record<string, unknown>,
  folder: string,
): Promise<Progress | undefined> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined
    throw error
  })
  if (text === undefined) return undefined
  const state = stateOf(text)
  if (!state) throw new UsageError(`${path} is not the state of an export. Start again with --restart.`)
  if (JSON.stringify(state.settings) !== JSON.stringify(settings))
    throw new UsageError(
      `${folder} is an export of ${describe(state.settings)}, not of ${describe(settings)}. Continue with its options, start again with --restart, or name another file with --out.`,
    )
  return state
}

function stateOf(text: string): State | undefined {
  try {
    const state = JSON.parse(text) as State | null
    return state?.version === 2 ? state : undefined
  } catch {
    return undefined
  }
}

const describe = (settings: Record<string, unknown>) =>
  Object.entries(settings)
    .map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(", ")
