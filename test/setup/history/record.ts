import { createHash } from "node:crypto"
import { mkdirSync } from "node:fs"
import { open } from "node:fs/promises"
import { dirname, join } from "node:path"
import { ROOT } from "../../../src/local/machine/root.ts"
import type { Answer, Invoke, Line } from "./lines.ts"

/** So much text waits in memory for the disk. */
const BUFFERED_CHARACTERS = 1024 * 1024

/** Writes a history, a line at once, in the order of `write`. */
export interface Recorder {
  path: string
  /** Notes that a request leaves, and returns what notes its answer. */
  invoke(request: Omit<Invoke, "type" | "n" | "at">): (answer: Omit<Answer, "type" | "n" | "at">) => void
  write(line: Line): void
  /** Notes nothing from then on. */
  close(): Promise<void>
}

/** Where a history is kept when a run names no other place. */
export const historyPath = (name: string) =>
  join(ROOT, "test-results/history", `${name.replaceAll(/[^\w-]+/g, "-").slice(0, 120)}.jsonl`)

/** Begins a history in a file, which is replaced. */
export async function startHistory(path: string): Promise<Recorder> {
  mkdirSync(dirname(path), { recursive: true })
  const file = await open(path, "w")
  let [buffered, written, last, isOpen] = ["", Promise.resolve(), 0, true]
  const flush = () => {
    const text = buffered
    buffered = ""
    written = written.then(() => file.writeFile(text))
  }
  const write = (line: Line) => {
    if (!isOpen) return
    buffered += `${JSON.stringify(line)}\n`
    if (buffered.length > BUFFERED_CHARACTERS) flush()
  }
  return {
    path,
    write,
    invoke(request) {
      const n = ++last
      write({ type: "invoke", n, at: performance.now(), ...request })
      return (answer) => write({ type: "answer", n, at: performance.now(), ...answer })
    },
    async close() {
      if (!isOpen) return
      isOpen = false
      flush()
      await written
      await file.close()
    },
  }
}

export const hashOf = (text: string | Uint8Array) =>
  createHash("sha256").update(text).digest("hex").slice(0, 16)

/** A signal's fields by which its row is found again. */
export const signalHash = (signal: {
  context_window_id?: unknown
  raw_content?: unknown
  user_id?: unknown
}): string =>
  hashOf(JSON.stringify([signal.context_window_id, signal.raw_content ?? null, signal.user_id ?? null]))
