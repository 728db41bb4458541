import { AsyncLocalStorage } from "node:async_hooks"
import { basename } from "node:path"

/** A process that uses the disk until it is killed. */
export interface ModelProcess {
  /** How many steps on the disk it still makes; then it is dead, and its last step is done in part. */
  stepsLeft: number
  isDead: boolean
}

const RUNNING = new AsyncLocalStorage<ModelProcess>()

/** Everything that `work` does, now and later, belongs to this process. */
export const asProcess = <T>(owner: ModelProcess, work: () => T): T => RUNNING.run(owner, work)

const never = () => new Promise<never>(() => {})
const failure = (code: string) => Object.assign(new Error(`${code} of the model`), { code })

/** Files in memory, which stay when a process is killed. Stands in for `node:fs/promises` of the spool. */
export class ModelDisk {
  readonly files = new Map<string, Buffer>()
  isFull = false

  /** One step. @returns whether it is done in part only, as the last one of a process */
  async #step(): Promise<boolean> {
    const owner = RUNNING.getStore()
    await Promise.resolve()
    if (!owner) return false
    if (owner.isDead) return never()
    owner.stepsLeft--
    if (owner.stepsLeft > 0) return false
    owner.isDead = true
    return true
  }

  async #whole<T>(work: () => T): Promise<T> {
    const isLast = await this.#step()
    const result = work()
    return isLast ? never() : result
  }

  async #append(name: string, bytes: Uint8Array): Promise<void> {
    const isLast = await this.#step()
    const kept = isLast || this.isFull ? bytes.subarray(0, bytes.length / 2) : bytes
    this.files.set(name, Buffer.concat([this.files.get(name) ?? Buffer.alloc(0), kept]))
    if (isLast) return never()
    if (this.isFull) throw failure("ENOSPC")
  }

  readonly open = (path: string, flags = "r") => {
    const name = basename(path)
    return this.#whole(() => {
      if (flags === "ax" && this.files.has(name)) throw failure("EEXIST")
      if (flags === "ax" && this.isFull) throw failure("ENOSPC")
      if (flags !== "r")
        this.files.set(name, flags === "w" ? Buffer.alloc(0) : (this.files.get(name) ?? Buffer.alloc(0)))
      return {
        appendFile: (bytes: Uint8Array) => this.#append(name, bytes),
        writeFile: (bytes: Uint8Array) => this.#append(name, bytes),
        datasync: () => this.#whole(() => undefined),
        sync: () => this.#whole(() => undefined),
        close: () => this.#whole(() => undefined),
        truncate: (size: number) =>
          this.#whole(
            () => void this.files.set(name, (this.files.get(name) ?? Buffer.alloc(0)).subarray(0, size)),
          ),
        read: (target: Buffer, offset: number, length: number, from: number) =>
          this.#whole(() => ({
            bytesRead: (this.files.get(name) ?? Buffer.alloc(0)).copy(target, offset, from, from + length),
          })),
      }
    })
  }
  readonly readdir = () => this.#whole(() => [...this.files.keys()])
  readonly readFile = (path: string) => this.#whole(() => this.files.get(basename(path)) ?? Buffer.alloc(0))
  readonly rm = (path: string) => this.#whole(() => void this.files.delete(basename(path)))
  readonly mkdir = () => this.#whole(() => undefined)
  readonly stat = (path: string) => this.#whole(() => ({ size: this.files.get(basename(path))?.length ?? 0 }))
  readonly statfs = () => this.#whole(() => ({ bavail: this.isFull ? 0 : 1_000_000, bsize: 4096 }))
}
