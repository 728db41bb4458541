import type { ChildProcess } from "node:child_process"
import { readFile } from "node:fs/promises"
import { setTimeout as sleep } from "node:timers/promises"
import type { Stand } from "./stand.ts"

const POLL_MS = 50

/** Kills the sender, the Worker and Postgres in turn, each when so many messages have been taken. */
export class Killer {
  readonly killed: Record<string, number> = { sender: 0, Worker: 0, Postgres: 0 }
  /** The most memory that a sender had, in MiB; 0 where the system does not tell. */
  peakMemory = 0
  readonly #stand: Stand
  readonly #moments: number[]
  #count = 0

  /** @param random chooses the moments */
  constructor(
    stand: Stand,
    { messages, kills, random }: { messages: number; kills: number; random: () => number },
  ) {
    this.#stand = stand
    this.#moments = Array.from({ length: kills }, () => random() * messages).sort((a, b) => a - b)
  }

  /**
   * Watches a sender until it ends.
   *
   * @param taken how many messages it has taken so far
   * @returns its exit code; null when it was killed
   */
  async watch(
    sender: ChildProcess,
    ended: Promise<number | null>,
    taken: () => Promise<number>,
  ): Promise<number | null> {
    let isOver = false
    void ended.then(() => (isOver = true))
    while (!isOver) {
      await Promise.race([ended, sleep(POLL_MS)])
      if (isOver) break
      this.peakMemory = Math.max(this.peakMemory, await memoryOf(sender))
      await this.#look(await taken(), sender)
    }
    return await ended
  }

  async #look(taken: number, sender: ChildProcess): Promise<void> {
    const [moment] = this.#moments
    if (moment === undefined || taken < moment) return
    this.#moments.shift()
    const name = (["sender", "Worker", "Postgres"] as const)[this.#count++ % 3] ?? "sender"
    console.log(`${Math.round(taken).toLocaleString("en-US")} taken: kills the ${name}`)
    this.killed[name] = (this.killed[name] ?? 0) + 1
    if (name === "sender") sender.kill("SIGKILL")
    else if (name === "Worker") await this.#stand.killWorker()
    else await this.#stand.killPostgres()
  }
}

/** The most memory that a process had so far, in MiB. */
async function memoryOf({ pid }: ChildProcess): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "")
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1024
}
