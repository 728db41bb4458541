import { randomBytes } from "node:crypto"
import { chmod, mkdtemp, readdir, rename, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { basename, dirname, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { freePort } from "../machine/ports.ts"
import { ROOT } from "../machine/root.ts"
import { StartupError } from "../machine/startup-error.ts"
import {
  claimDataFolder,
  closedFolder,
  keepOwner,
  keepPassword,
  keepPort,
  keptPort,
  useScram,
} from "./data-folder.ts"
import {
  createCluster,
  findPrograms,
  type Programs,
  type ServerProcess,
  serverUser,
  startServer,
} from "./server.ts"

/** A Postgres server that listens only on the loopback address. */
export interface LocalPostgres {
  /** Connection string of the superuser. The host is a name, as Neon's driver requires. */
  url: string
  port: number
  /** The server's process id, which changes with `restart`. */
  pid: number
  /** Shuts it down and closes its connections. */
  stop(): Promise<void>
  /** Kills the server, for tests of a crash. */
  kill(): Promise<void>
  /**
   * Starts it again after `stop` or `kill`, on the same data and port. `onRefused` is called each time that a
   * connection of the killed server still works, before the next attempt.
   */
  restart(onRefused?: () => void): Promise<void>
}

export interface PostgresOptions {
  /** Default: the last port of this folder, or a free one. */
  port?: number
  /** The folder of another version's programs. Default: the embedded version. */
  programs?: string | undefined
  /**
   * The caller stops the server on SIGINT and similar signals. By default such a signal ends the server and
   * then this process.
   */
  callerHandlesSignals?: boolean
  /** Aborts when the start is no longer wanted. */
  stopped?: AbortSignal
  /** Called each time that a connection of a killed server still works, before the next attempt. */
  onRefused?: (() => void) | undefined
  /** Called when the server ends unexpectedly. */
  onCrash?(): void
}

const USER = "postgres"

/**
 * How long a start waits for the last connections of a server that was killed: they hold its shared memory
 * until they notice, and a statement may take long.
 */
const FORMER_CONNECTIONS_MS = 60_000
const FORMER_CONNECTIONS_POLL_MS = 100

/**
 * Starts Postgres on a data folder, and creates the folder when it does not exist.
 *
 * @throws {StartupError} the folder holds other files, another version's data, or a server that is in use; or
 *   the server is not installed, or cannot run there
 */
export async function startPostgres(dataDir: string, options: PostgresOptions = {}): Promise<LocalPostgres> {
  const programs = await findPrograms(options.programs)
  const knownPassword = await claimDataFolder(dataDir, programs.major)
  if (process.getuid?.() === 0) await refuseClosedFolders(dataDir)
  await removeUnfinished(dataDir)

  // Random, since every user and program of this machine can reach the port.
  const password = knownPassword ?? randomBytes(18).toString("base64url")
  const port = options.port ?? (await keptPort(dataDir)) ?? (await freePort())
  if (knownPassword === undefined) await createDatabase(programs, dataDir, password, options.stopped)
  await useScram(dataDir)

  let server: ServerProcess | undefined
  let isWanted = false
  if (!options.callerHandlesSignals) {
    if (endedBySignals.size === 0) endAtSignals()
    endedBySignals.add(() => server?.stop())
  }
  const start = async (onRefused = options.onRefused) => {
    await keepOwner(dataDir)
    await keepPort(dataDir, port)
    const started = await startWhenFree(programs, dataDir, port, { ...options, onRefused })
    server = started
    isWanted = true
    void started.ended.then(() => {
      if (isWanted && server === started) options.onCrash?.()
    })
    return started.pid
  }
  const postgres: LocalPostgres = {
    url: `postgresql://${USER}:${password}@localhost:${port}/postgres`,
    port,
    pid: await start(),
    async stop() {
      isWanted = false
      await server?.stop()
    },
    async kill() {
      isWanted = false
      await server?.kill()
    },
    async restart(onRefused) {
      postgres.pid = await start(onRefused)
    },
  }
  return postgres
}

/** The servers that a signal to this process ends. */
const endedBySignals = new Set<() => Promise<void> | undefined>()

/** Ends these servers at a signal, and then lets the signal end this process if nothing else listens. */
function endAtSignals(): void {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.once(signal, () => {
      for (const stop of endedBySignals) void stop()
      if (process.listenerCount(signal) === 0) process.kill(process.pid, signal)
    })
}

/**
 * Creates the database beside its final folder and then moves it, so that no start leaves an incomplete one.
 */
async function createDatabase(
  programs: Programs,
  dataDir: string,
  password: string,
  stopped?: AbortSignal,
): Promise<void> {
  // Another name each time: the initdb of a start that was killed may still write into the former folder.
  const unfinished = `${dataDir}.unfinished-${randomBytes(4).toString("hex")}`
  try {
    await createCluster(programs, unfinished, { name: USER, password }, stopped)
    await keepPassword(unfinished, password)
    await rm(dataDir, { recursive: true })
    await rename(unfinished, dataDir)
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true })
    throw error
  }
}

/** Removes what interrupted starts have left. */
async function removeUnfinished(dataDir: string): Promise<void> {
  const folder = dirname(dataDir)
  for (const name of await readdir(folder))
    if (name.startsWith(`${basename(dataDir)}.unfinished`))
      await rm(join(folder, name), { recursive: true, force: true, maxRetries: 5 })
}

/** After a kill, Postgres does not start until the last connection of the killed server has noticed. */
async function startWhenFree(
  programs: Programs,
  dataDir: string,
  port: number,
  { stopped, onRefused }: Pick<PostgresOptions, "stopped" | "onRefused">,
): Promise<ServerProcess> {
  for (const deadline = Date.now() + FORMER_CONNECTIONS_MS; ; ) {
    try {
      return await startServer(programs, dataDir, port)
    } catch (error) {
      if (!/is still in use/.test(String(error)) || stopped?.aborted) throw error
      if (Date.now() > deadline)
        throw new StartupError(
          `A statement of the former Postgres server still runs on ${dataDir}. Wait until it ends, or end the processes named postgres of that server.`,
        )
      onRefused?.()
      await sleep(FORMER_CONNECTIONS_POLL_MS)
    }
  }
}

/**
 * Starts Postgres in a new folder below `parent`, and removes the folder when it stops. For tests and
 * benchmarks.
 */
export async function startTemporaryPostgres(
  parent = tmpdir(),
  options: PostgresOptions = {},
): Promise<LocalPostgres> {
  const folder = await mkdtemp(join(parent, "signal-ingest-"))
  // A server that root starts runs as another user, who must be able to enter the folder.
  await chmod(folder, 0o755)
  const postgres = await startPostgres(join(folder, "postgres"), options)
  const { stop } = postgres
  postgres.stop = async () => {
    await stop()
    await rm(folder, { recursive: true, force: true })
  }
  return postgres
}

/**
 * A server that root starts runs as the user `postgres`, who must be able to read the data and the program.
 */
async function refuseClosedFolders(dataDir: string): Promise<void> {
  const user = await serverUser({ create: false }).catch(() => undefined)
  for (const path of [dataDir, join(ROOT, "node_modules")]) {
    const closed = await closedFolder(path, user?.uid)
    if (closed === undefined) continue
    throw new StartupError(
      `Started by root, Postgres runs as the user postgres, who cannot enter ${closed}. Run chmod o+x on it, or start as another user.`,
    )
  }
}
