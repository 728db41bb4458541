import { type ChildProcess, spawn } from "node:child_process"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { Environment } from "./environment.ts"
import { StartupError } from "./startup-error.ts"

export interface LocalWorker {
  /** Resolves with the exit code when the process has ended by itself or by `stop`. */
  ended: Promise<number>
  stop(): Promise<void>
}

const ROOT = new URL("../../", import.meta.url)

/** Lines of wrangler's own that say nothing to somebody who started the service. */
const CHATTER =
  /^\s*$|wrangler \d|^[─-]+$|^Using secrets|^Your Worker has access|^Binding\s|^env\.|Scheduled Workers are not|To manually trigger|curl "http|For more details|Starting local server|Ready on|Shutting down|\[wrangler:info\]|^⎔/

/**
 * Runs the Worker under `wrangler dev`. Settings travel in a file that only this user can read, since everybody can see a command line.
 *
 * @param stateDir where wrangler keeps what its local bindings store
 */
export async function startWorker(options: { port: number; stateDir: string; environment: Environment }): Promise<LocalWorker> {
  const folder = await mkdtemp(join(tmpdir(), "signal-ingest-"))
  const envFile = join(folder, "env")
  await writeFile(envFile, envText(options.environment), { mode: 0o600 })
  const wrangler = new URL("node_modules/wrangler/bin/wrangler.js", ROOT).pathname
  const child = spawn(
    process.execPath,
    [
      wrangler,
      "dev",
      ...["--port", String(options.port), "--ip", "localhost", "--inspector-port", "0"],
      ...["--persist-to", options.stateDir, "--env-file", envFile, "--show-interactive-dev-session=false"],
    ],
    {
      cwd: ROOT,
      // A group of its own: Ctrl-C reaches this process alone, which then ends everything in order.
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        ...process.env,
        CLOUDFLARE_CF_FETCH_ENABLED: "false",
        WRANGLER_SEND_METRICS: "false",
        WRANGLER_HIDE_BANNER: "true",
        NO_COLOR: "1",
      },
    },
  )
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (line) => {
      if (!CHATTER.test(line)) console.log(line)
    })
  }
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", () =>
      reject(new StartupError("wrangler is not installed: run npm ci, with its install scripts allowed.")),
    )
    child.once("exit", (code) => resolve(code ?? 1))
  }).finally(() => rm(folder, { recursive: true, force: true }))
  return { ended, stop: () => stopGroup(child, ended) }
}

/** Asks wrangler to end itself and its workerd, and after a while sees to it. */
async function stopGroup(child: ChildProcess, ended: Promise<number>): Promise<void> {
  if (child.pid === undefined) return
  const signalGroup = (signal: NodeJS.Signals) => {
    try {
      process.kill(-(child.pid as number), signal)
    } catch {
      // The whole group has ended already.
    }
  }
  signalGroup("SIGINT")
  const patience = setTimeout(() => signalGroup("SIGKILL"), 5000)
  await ended.catch(() => {})
  clearTimeout(patience)
  signalGroup("SIGKILL")
}

/** In the form that dotenv reads: single quotes keep everything but a single quote. */
function envText(environment: Environment): string {
  return Object.entries(environment)
    .map(([name, value]) => `${name}=${value.includes("'") ? JSON.stringify(value) : `'${value}'`}\n`)
    .join("")
}
