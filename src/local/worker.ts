import { type ChildProcess, spawn } from "node:child_process"
import { access, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { LocalAnalytics } from "./analytics/server.ts"
import { type Environment, envFileText } from "./environment.ts"
import { ROOT } from "./root.ts"
import { StartupError } from "./startup-error.ts"
import { writeConfigs } from "./wrangler-config.ts"

export interface LocalWorker {
  /** Resolves with the exit code when the process has ended by itself or by `stop`. */
  ended: Promise<number>
  stop(): Promise<void>
}

/** Lines of wrangler's own that say nothing to somebody who started the service. */
const CHATTER =
  /^\s*$|wrangler \d|^[─-]+$|^Using secrets|^Your Worker has access|^Binding\s|^env\.|Scheduled Workers are not|To manually trigger|curl "http|For more details|Starting local server|Ready on|Shutting down|\[wrangler:info\]|^⎔|^\S+ has access to the following|^\[custom build\] Running/

/** What wrangler puts in front of each line when it runs more than one Worker. */
const WORKER_NAME = /^\[undefined\] /

const QUIET = {
  // Both would ask Cloudflare for something.
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  WRANGLER_SEND_METRICS: "false",
  WRANGLER_HIDE_BANNER: "true",
  NO_COLOR: "1",
}

/** The Worker gets what the file names, whatever the person's own environment says of wrangler. */
const SETTINGS_FROM_FILE = { CLOUDFLARE_LOAD_DEV_VARS_FROM_DOT_ENV: "true", CLOUDFLARE_INCLUDE_PROCESS_ENV: "false" }

export interface WorkerOptions {
  port: number
  /** Where wrangler keeps what its local bindings store. */
  stateDir: string
  environment: Environment
  /** Takes the Worker's data points; without it they go nowhere. */
  analytics?: LocalAnalytics | undefined
}

/**
 * Runs the Worker under `wrangler dev`. Settings travel in a file that only this user can read, since everybody can see a command line.
 */
export async function startWorker(options: WorkerOptions): Promise<LocalWorker> {
  const settings = envFileText(options.environment)
  const wrangler = join(ROOT, "node_modules/wrangler/bin/wrangler.js")
  await access(wrangler).catch(() => {
    throw new StartupError("wrangler is not installed: run npm ci.")
  })
  const folder = await mkdtemp(join(tmpdir(), "signal-ingest-"))
  const envFile = join(folder, "env")
  await writeFile(envFile, settings, { mode: 0o600 })
  const configs = options.analytics ? await writeConfigs(folder, options.analytics) : []
  const child = spawn(
    process.execPath,
    [
      ...["--import", new URL("end-with-parent.ts", import.meta.url).href],
      ...[wrangler, "dev", "--port", String(options.port), "--ip", "localhost", "--inspector-port", "0"],
      ...configs.flatMap((path) => ["--config", path]),
      ...["--persist-to", options.stateDir, "--env-file", envFile, "--show-interactive-dev-session=false"],
    ],
    {
      cwd: ROOT,
      // A group of its own: Ctrl-C reaches this process alone, which then ends everything in order.
      detached: true,
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      // With a registry of its own it takes no Worker of another `npm start` for one of its two.
      env: { ...process.env, ...QUIET, ...SETTINGS_FROM_FILE, WRANGLER_REGISTRY_PATH: join(folder, "registry") },
    },
  )
  let stopping = false
  const show = (output: string) => {
    const line = output.replace(WORKER_NAME, "")
    // What is cut off while it ends complains of that.
    if (!stopping && !CHATTER.test(line)) console.log(line)
  }
  for (const stream of [child.stdout, child.stderr]) if (stream) createInterface({ input: stream }).on("line", show)
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", reject)
    child.once("exit", (code) => resolve(code ?? 1))
  }).finally(() => rm(folder, { recursive: true, force: true }))
  return {
    ended,
    stop() {
      stopping = true
      return stopGroup(child, ended)
    },
  }
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
