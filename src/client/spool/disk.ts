import { randomBytes } from "node:crypto"
import { open, stat, statfs } from "node:fs/promises"
import { dirname, join } from "node:path"
import { removeFile } from "./files.ts"

/** Enough for the `done` lines of more than 1,000 batches; each file that is done gives back far more. */
const RESERVE_BYTES = 128 * 1024
/** A block of common file systems: the lock of a process that starts on a full disk. */
const LOCK_RESERVE_BYTES = 4096

/** A new line or file has no room, whether the disk is full or a quota is used up. */
export const isDiskFull = (error: unknown): boolean =>
  ["ENOSPC", "EDQUOT"].includes((error as NodeJS.ErrnoException | undefined)?.code ?? "")

/** Bytes that this user can still write; undefined where the runtime or the file system does not say. */
export async function freeBytes(folder: string): Promise<number | undefined> {
  try {
    const { bavail, bsize } = await statfs(folder)
    return bavail * bsize
  } catch {
    return undefined
  }
}

/** The file that a process removes to lock the folder on a full disk. */
export const lockReserveOf = (folder: string): string => join(folder, "reserve.lock")

/**
 * Space that the spool has taken beforehand, so that it can note on a full disk what is done. Without it, a
 * disk that the spool itself has filled would stay full.
 */
export class Reserve {
  readonly #folder: string
  #isThere = false

  constructor(folder: string) {
    this.#folder = folder
  }

  /** Takes the space, unless it is there or the disk has no room. Never rejects. */
  async restore(): Promise<void> {
    if (this.#isThere) return
    this.#isThere = await takeSpace(this.#path, RESERVE_BYTES)
    await takeSpace(lockReserveOf(this.#folder), LOCK_RESERVE_BYTES)
  }

  /** Gives the space up, for lines that must be written. */
  async release(): Promise<void> {
    this.#isThere = false
    await removeFile(this.#path).catch(() => {})
  }

  get #path(): string {
    return join(this.#folder, "reserve")
  }
}

/** @returns whether the file has its bytes */
async function takeSpace(path: string, bytes: number): Promise<boolean> {
  const { size } = await stat(path).catch(() => ({ size: 0 }))
  if (size >= bytes) return true
  // A half-written reserve would take the last room from the lines that it is for.
  const free = await freeBytes(dirname(path))
  if (free !== undefined && free < 2 * bytes) return false
  try {
    const file = await open(path, "w", 0o600)
    try {
      // Zeros might take no space, where the file system compresses.
      await file.writeFile(randomBytes(bytes))
      await file.sync()
    } finally {
      await file.close()
    }
    return true
  } catch {
    await removeFile(path).catch(() => {})
    return false
  }
}
