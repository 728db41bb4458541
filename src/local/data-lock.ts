import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { mkdir, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { commandOf, isAlive } from "./machine/processes.ts"
import { StartupError } from "./machine/startup-error.ts"

/** How long a start waits for its predecessor on the same data folder to end. A stop takes up to 16 s. */
const PREDECESSOR_MS = 20_000

/**
 * How long a start waits for its predecessor to notice that it must stop: a SIGTERM to npm ends npm at once,
 * and npm's child looks for its parent twice a second.
 */
const NOTICE_MS = 3000

const POLL_MS = 100

/** The state of the `npm start` that uses a data folder, in the folder's file `npm-start.json`. */
interface Holder {
  pid: number
  /** The Worker's process, which ends after an `npm start` that was killed. */
  worker?: number | undefined
  stopping: boolean
}

/** Keeps a data folder for one `npm start`. */
export interface DataLock {
  /** Names the Worker's process, for which a successor waits too. */
  setWorker(pid: number | undefined): void
  /** Tells a successor that this process is about to end. Synchronous, since npm ends at the same signal. */
  setStopping(): void
  release(): void
}

/**
 * Takes the data folder for this process. Waits for a predecessor that is stopping.
 *
 * @param stopped aborts the wait
 * @throws {StartupError} another `npm start` uses the folder, or the folder cannot be written
 */
export async function lockDataFolder(dataDir: string, stopped: AbortSignal): Promise<DataLock> {
  const file = join(dataDir, "npm-start.json")
  const holder: Holder = { pid: process.pid, stopping: false }
  await waitForPredecessor(file, dataDir, stopped)
  try {
    await mkdir(dataDir, { recursive: true })
    await writeFile(file, JSON.stringify(holder), { flag: "wx" })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") throw inUse(dataDir, readHolder(file)?.pid)
    throw new StartupError(`The data folder ${dataDir} can't be used: ${(error as Error).message}.`)
  }
  const isMine = () => readHolder(file)?.pid === process.pid
  const release = () => {
    if (isMine()) rmSync(file, { force: true })
  }
  const save = (change: Partial<Holder>) => {
    Object.assign(holder, change)
    if (!isMine()) return
    try {
      writeFileSync(`${file}.new`, JSON.stringify(holder))
      renameSync(`${file}.new`, file)
    } catch {
      // A full disk: a successor then waits without knowing why, or is refused.
    }
  }
  process.once("exit", release)
  return { setWorker: (worker) => save({ worker }), setStopping: () => save({ stopping: true }), release }
}

async function waitForPredecessor(file: string, dataDir: string, stopped: AbortSignal): Promise<void> {
  const startedAt = Date.now()
  let announced = false
  for (; existsSync(file); await sleep(POLL_MS, undefined, { signal: stopped })) {
    const holder = readHolder(file)
    const waitedMs = Date.now() - startedAt
    // Another start is just writing the file, or was killed while it did.
    if (!holder && waitedMs < NOTICE_MS) continue
    const running = holder && (await runningProcess(holder))
    if (running === undefined) {
      // Killed. A file that another start has made meanwhile stays.
      if (readHolder(file)?.pid === holder?.pid) await rm(file, { force: true })
      return
    }
    // The Worker's process ends by itself when its npm start has ended.
    const isEnding = holder?.stopping === true || running !== holder?.pid
    if (waitedMs > (isEnding ? PREDECESSOR_MS : NOTICE_MS)) throw inUse(dataDir, running)
    if (isEnding && !announced)
      console.log(`Waiting until the former npm start (process ${running}) has ended ...`)
    announced ||= isEnding
  }
}

/** The process for which a start has to wait. */
async function runningProcess({ pid, worker }: Holder): Promise<number | undefined> {
  if (await isOurs(pid, /src\/local\/(launch\.mjs|start\.ts)/)) return pid
  return worker !== undefined && (await isOurs(worker, /src\/local\/worker\/process\.ts/))
    ? worker
    : undefined
}

/**
 * The id may belong to another program by now. After a restart of a container it can even be this process.
 */
async function isOurs(pid: number, command: RegExp): Promise<boolean> {
  if (pid === process.pid || !isAlive(pid)) return false
  const text = await commandOf(pid)
  return text === undefined || command.test(text)
}

const inUse = (dataDir: string, pid: number | undefined) =>
  new StartupError(
    `Another npm start (process ${pid}) uses the data folder ${dataDir}. Stop it, or choose another folder with --data.`,
  )

function readHolder(file: string): Holder | undefined {
  try {
    const holder = JSON.parse(readFileSync(file, "utf8")) as Holder
    return Number.isInteger(holder.pid) ? holder : undefined
  } catch {
    return undefined
  }
}
