import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { chmod, mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { SETTING_NAMES } from "../../../src/config.ts"
import { descendants } from "../../setup/processes.ts"

const START = fileURLToPath(new URL("../../../src/local/start.ts", import.meta.url))

/** What `npm start` says last when all runs. */
export const READY = "Press Ctrl-C to stop."

const running = new Set<ChildProcess>()

export async function dataFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "signal-ingest-test-"))
  // Started as root, Postgres runs as another user, who has to pass through.
  await chmod(folder, 0o755)
  return folder
}

/** After each test. Only a failed one has left a process. */
export async function endAll(folder: string): Promise<void> {
  for (const child of running) child.kill("SIGTERM")
  for (const child of running) await once(child, "close")
  await rm(folder, { recursive: true, force: true })
}

/**
 * Empty settings, so that a developer's own environment and .dev.vars can't reach the tests, nor the tests
 * their database.
 */
export const NO_SETTINGS = Object.fromEntries(SETTING_NAMES.map((name) => [name, ""]))

/** Runs a command in a process group of its own, as a shell at a terminal does, and gathers what it says. */
export function run(command: string, args: string[], env: Record<string, string> = {}) {
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...NO_SETTINGS, ...env },
    detached: true,
  })
  running.add(child)
  const said = { text: "" }
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => (said.text += text))
  const ended = once(child, "close").then(([code]) => {
    running.delete(child)
    return code as number | null
  })
  /**
   * Resolves when the words have been said; rejects with what was said when the process ends without them.
   */
  const saying = (words: string) =>
    new Promise<void>((resolve, reject) => {
      const look = () => said.text.includes(words) && resolve()
      for (const stream of [child.stdout, child.stderr]) stream.on("data", look)
      look()
      void ended.then(() => reject(new Error(`"${words}" was never said: ${said.text}`)))
    })
  /** Sends a signal to the whole process group, as Ctrl-C at a terminal and `kill -- -PID` do. */
  const signalGroup = (signal: NodeJS.Signals) => process.kill(-(child.pid ?? 0), signal)
  return { child, said, ended, saying, signalGroup, processes: () => descendants(child.pid ?? 0) }
}

/** `npm start` itself, with the processes that npm puts around it. */
export const npmStart = (args: string[], env?: Record<string, string>) =>
  run("npm", ["start", "--silent", "--", ...args], env)

export const start = (args: string[], env?: Record<string, string>) =>
  run(process.execPath, [START, ...args], env)
