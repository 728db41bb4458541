import { constants } from "node:fs"
import {
  access,
  chown,
  mkdir,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises"
import { dirname, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { isFree } from "../machine/ports.ts"
import { commandOf, isAlive } from "../machine/processes.ts"
import { StartupError } from "../machine/startup-error.ts"

/** The file with the superuser's password, which is random for each database. */
const PASSWORD_FILE = "superuser-password"

/** The file with the server's last port, so that connection strings stay valid. */
const PORT_FILE = "last-port"

/**
 * The file with the id of the process that started the server. A server whose starter was killed can be
 * stopped.
 */
const OWNER_FILE = "started-by.pid"

/** How long the shutdown of a server whose starter was killed may take. */
const ORPHAN_MS = 20_000

/**
 * Checks whether a server can start on this folder, and stops a server whose starter was killed.
 *
 * @param major the version of the server
 * @returns the superuser's password; undefined when the folder is empty
 * @throws {StartupError} the folder holds other files, another version's data, or a server that is in use
 */
export async function claimDataFolder(dataDir: string, major: number): Promise<string | undefined> {
  await mkdir(dataDir, { recursive: true })
    .then(() => access(dataDir, constants.R_OK | constants.W_OK | constants.X_OK))
    .catch((error) => {
      throw new StartupError(`The data folder ${dataDir} can't be used: ${(error as Error).message}.`)
    })
  if ((await readdir(dataDir)).length === 0) return undefined
  const version = (await readFile(join(dataDir, "PG_VERSION"), "utf8").catch(() => "")).trim()
  if (version === "")
    throw new StartupError(
      `The folder ${dataDir} is not empty and holds no database. Choose another folder with --data.`,
    )
  if (version !== String(major))
    throw new StartupError(
      `The data in ${dataDir} was made by Postgres ${version}, and this is ${major}. Choose another folder with --data.`,
    )
  const password = await readFile(join(dataDir, PASSWORD_FILE), "utf8").catch(() => {
    throw new StartupError(
      `The database in ${dataDir} was not made by npm start. Choose another folder with --data.`,
    )
  })
  await stopOrphan(dataDir)
  return password
}

export const keepPassword = (dataDir: string, password: string) =>
  writeFile(join(dataDir, PASSWORD_FILE), password, { mode: 0o600 })

/** Returns the saved password of a role; saves that of `make` when the folder has none yet. */
export async function keptPassword(dataDir: string, role: string, make: () => string): Promise<string> {
  const file = join(dataDir, `${role}-password`)
  const kept = await readFile(file, "utf8").catch(() => "")
  if (kept !== "") return kept
  const password = make()
  await writeFile(file, password, { mode: 0o600 })
  return password
}

export const keepPort = (dataDir: string, port: number) => writeFile(join(dataDir, PORT_FILE), String(port))

/** Undefined when there was no port, or another program listens on it now. */
export async function keptPort(dataDir: string): Promise<number | undefined> {
  const port = Number(await readFile(join(dataDir, PORT_FILE), "utf8").catch(() => ""))
  return Number.isInteger(port) && port > 0 && (await isFree(port)) ? port : undefined
}

/** Records this process as the starter of the server. */
export const keepOwner = (dataDir: string) => writeFile(join(dataDir, OWNER_FILE), String(process.pid))

/** The first line of postmaster.pid, which a running or crashed server leaves in its folder. */
async function serverPid(dataDir: string): Promise<number | undefined> {
  const text = await readFile(join(dataDir, "postmaster.pid"), "utf8").catch(() => "")
  return Number(text.split("\n", 1)[0]) || undefined
}

/**
 * Lets connections log in only with SCRAM. In folders of earlier versions the password itself was sent, which
 * any program that takes the port over could read.
 */
export async function useScram(dataDir: string): Promise<void> {
  const file = join(dataDir, "pg_hba.conf")
  const text = await readFile(file, "utf8")
  const changed = text.replace(/^((?:host|local)\b[^#\n]*\s)password[ \t]*$/gm, "$1scram-sha-256")
  if (changed === text) return
  // Beside it and then moved: on a full disk the former file stays whole.
  const draft = `${file}.new`
  const { uid, gid, mode } = await stat(file)
  await writeFile(draft, changed, { mode })
  await chown(draft, uid, gid)
  await rename(draft, file)
}

/** Stops a server on this folder whose `npm start` was killed. Throws when the server is in use. */
async function stopOrphan(dataDir: string): Promise<void> {
  const pid = await serverPid(dataDir)
  if (pid === undefined || !isAlive(pid)) return
  const command = await commandOf(pid)
  if (command !== undefined && !/postgres.* -D /.test(command)) {
    // The server crashed and another process has its id now. Postgres would refuse to start.
    await rm(join(dataDir, "postmaster.pid"), { force: true })
    return
  }
  const owner = Number(await readFile(join(dataDir, OWNER_FILE), "utf8").catch(() => "0"))
  if (!command?.includes(dataDir) || owner === 0 || isAlive(owner)) {
    throw new StartupError(
      `A Postgres server (process ${pid}) already runs on ${dataDir}. Stop it, or choose another folder with --data.`,
    )
  }
  process.kill(pid, "SIGINT")
  // The server removes its pid file last. The process itself can stay a zombie for a long time.
  for (const deadline = Date.now() + ORPHAN_MS; (await serverPid(dataDir)) === pid; await sleep(50))
    if (Date.now() > deadline)
      throw new StartupError(
        `The Postgres server (process ${pid}) of a former npm start on ${dataDir} does not stop. End it, then start again.`,
      )
}

/**
 * Returns the folder above `path` that the user `postgres` cannot enter, if there is one. A server that root
 * starts runs as that user.
 */
export async function closedFolder(
  path: string,
  postgresUid: number | undefined,
): Promise<string | undefined> {
  for (let folder = dirname(await realpath(path)); ; folder = dirname(folder)) {
    const { mode, uid } = await stat(folder)
    if ((mode & 0o001) === 0 && uid !== postgresUid) return folder
    if (folder === dirname(folder)) return undefined
  }
}
