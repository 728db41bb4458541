import { randomUUID } from "node:crypto"
import { access, link, mkdir, readdir, readFile, rename, rm, rmdir, writeFile } from "node:fs/promises"
import { createConnection, createServer, type Server } from "node:net"
import { hostname, tmpdir } from "node:os"
import { basename, join } from "node:path"
import { isDiskFull } from "./disk.ts"

/** The content of a lock file. */
interface Holder {
  /**
   * The socket or pipe on which the holder listens. A bare name is in the folder, since containers may mount
   * the folder elsewhere.
   */
  address: string
  pid: number
  host: string
}

/** Bytes of a socket's path that every system accepts (macOS: 104 with the terminating zero). */
const MAX_ADDRESS_BYTES = 100
/** Time for a holder's socket to accept a connection. A slow holder still has the lock. */
const REACH_MS = 2000
/** Attempts that other processes may win. Each time, one of them has the folder. */
const MAX_ATTEMPTS = 100

/** Another running process has the folder. */
export class FolderInUse extends Error {}

/**
 * Locks a folder until the holder releases the lock or its process ends, even by a crash.
 *
 * The holder listens on a socket, which closes with the process. Process ids are not used, because ids are
 * reused and every container has a process 1. A lock file has a number. A hard link creates the file with its
 * whole content, and fails when the number is taken. A file is removed only after one with a higher number
 * exists: when several processes find a dead holder, the highest number has the lock.
 *
 * The lock works between processes and containers of one machine that share the folder; on Windows it uses a
 * named pipe. It does not work between machines (NFS, SMB), nor between containers when the folder's path is
 * longer than 72 bytes or its file system has no sockets. Use a folder for each of them there.
 *
 * @param name the folder in messages, as the subject of a sentence
 * @param reserve a file that is removed when the disk has no room for the lock
 * @returns a function that releases the lock
 * @throws {FolderInUse} another process, or this one, has the folder open
 */
export async function lockFolder(
  folder: string,
  name = `The spool ${folder}`,
  { reserve }: { reserve?: string } = {},
): Promise<() => Promise<void>> {
  const { server, address } = await listen(folder)
  const draft = join(folder, `${randomUUID()}.draft`)
  try {
    await writeDraft(draft, { address, pid: process.pid, host: hostname() }, reserve)
    await take(folder, name, draft)
  } catch (error) {
    await end(server)
    throw error
  } finally {
    await rm(draft, { force: true })
  }
  // The file stays: its number must not be given again.
  return () => end(server)
}

async function writeDraft(path: string, holder: Holder, reserve: string | undefined): Promise<void> {
  const text = JSON.stringify(holder)
  try {
    await writeFile(path, text, { flag: "wx" })
  } catch (error) {
    if (reserve === undefined || !isDiskFull(error)) throw error
    await rm(reserve, { force: true })
    await writeFile(path, text)
  }
}

/**
 * Locks a folder that exists only for its lock: it is made here, and removed when the lock is released. See
 * `lockFolder`.
 *
 * The holder moves the folder away before it ends the lock. A file is linked only from a draft in the same
 * folder, so a process that has looked into the folder before finds its draft gone, and begins again in a new
 * one.
 */
export async function lockOwnFolder(folder: string, name: string): Promise<() => Promise<void>> {
  for (let attempt = 1; ; attempt++) {
    try {
      await mkdir(folder, { recursive: true })
      const unlock = await lockFolder(folder, name)
      return () => removeLocked(folder, unlock)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT" && attempt < MAX_ATTEMPTS) continue
      // Such as of a full disk. A folder in which another process has a file stays.
      await rmdir(folder).catch(() => {})
      throw error
    }
  }
}

async function removeLocked(folder: string, unlock: () => Promise<void>): Promise<void> {
  const moved = `${folder}.${randomUUID().slice(0, 8)}`
  // A folder that cannot be moved stays, as that of a process that was killed.
  const isMoved = await rename(folder, moved).then(
    () => true,
    () => false,
  )
  await unlock()
  if (isMoved) await rm(moved, { recursive: true, force: true })
}

async function take(folder: string, name: string, draft: string): Promise<void> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const highest = Math.max(0, ...(await lockNumbers(folder)))
    const holder = highest > 0 ? await readHolder(pathOf(folder, highest)) : undefined
    if (holder && (await isListening(folder, holder.address)))
      throw new FolderInUse(
        `${name} is in use by process ${holder.pid} on ${holder.host}. Only one process can have it open.`,
      )
    const number = highest + 1
    try {
      await link(draft, pathOf(folder, number))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST") continue
      throw error
    }
    // While this process looked, others may have taken this number and a higher one, and removed this one.
    const numbers = await lockNumbers(folder)
    if (Math.max(...numbers) === number && (await exists(draft))) return removeFormer(folder, numbers, number)
    await rm(pathOf(folder, number), { force: true })
  }
  throw new FolderInUse(`${name} is in use: other processes keep opening it.`)
}

/** A draft that is gone is in a folder that its last holder has moved away (see `lockOwnFolder`). */
const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )

async function removeFormer(folder: string, numbers: number[], own: number): Promise<void> {
  for (const number of numbers.filter((other) => other < own)) {
    const holder = await readHolder(pathOf(folder, number))
    await rm(pathOf(folder, number), { force: true })
    // A killed process leaves its socket.
    if (holder && SOCKET.test(basename(holder.address)))
      await rm(locate(folder, holder.address), { force: true })
  }
}

const SOCKET = /^signal-ingest-[0-9a-f]{8}\.sock$/

const locate = (folder: string, address: string) => (SOCKET.test(address) ? join(folder, address) : address)

const pathOf = (folder: string, number: number) => join(folder, `${number}.lock`)

async function lockNumbers(folder: string): Promise<number[]> {
  return (await readdir(folder)).flatMap((name) =>
    /^\d{1,15}\.lock$/.test(name) ? [Number.parseInt(name, 10)] : [],
  )
}

/**
 * Undefined when the file is gone or a power cut left it without content. In both cases its process has
 * ended.
 */
async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    const holder = JSON.parse(await readFile(path, "utf8")) as Holder
    return typeof holder.address === "string" ? holder : undefined
  } catch {
    return undefined
  }
}

/** Listens in the folder where that is possible, so that containers that share it can reach the socket. */
async function listen(folder: string): Promise<{ server: Server; address: string }> {
  const name = `signal-ingest-${randomUUID().slice(0, 8)}.sock`
  if (process.platform === "win32") return listenAt(`\\\\.\\pipe\\${name}`)
  const inFolder = join(folder, name)
  const elsewhere = join(tmpdir(), name)
  if (Buffer.byteLength(inFolder) > MAX_ADDRESS_BYTES) return listenAt(elsewhere)
  try {
    return { ...(await listenAt(inFolder)), address: name }
  } catch {
    return listenAt(elsewhere)
  }
}

function listenAt(address: string): Promise<{ server: Server; address: string }> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy())
    server.once("error", reject)
    server.listen({ path: address }, () => {
      // The lock must not keep its process running.
      server.unref()
      resolve({ server, address })
    })
  })
}

function isListening(folder: string, address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ path: locate(folder, address) })
    const settle = (listening: boolean) => {
      socket.destroy()
      resolve(listening)
    }
    socket.setTimeout(REACH_MS, () => settle(true))
    socket.once("connect", () => settle(true))
    // Any other error, such as a full queue, comes from a running holder.
    socket.once("error", ({ code }: NodeJS.ErrnoException) =>
      settle(code !== "ECONNREFUSED" && code !== "ENOENT"),
    )
  })
}

const end = (server: Server): Promise<void> => new Promise((resolve) => server.close(() => resolve()))
