import { type ChildProcess, fork } from "node:child_process"
import { randomBytes } from "node:crypto"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { setTimeout as sleep } from "node:timers/promises"
import type { SettingTexts } from "../../config.ts"
import type { LocalAnalytics } from "../analytics/server.ts"
import { ROOT } from "../machine/root.ts"
import { StartupError } from "../machine/startup-error.ts"
import { END_MS, type FromWorker, type Left, type ToWorker, type WorkerSettings } from "./messages.ts"

export interface LocalWorker {
  /** The id of the Worker's process; undefined when it did not start. */
  pid: number | undefined
  /** Resolves when the queue has the messages that it had when the Worker last ended. */
  resumed: Promise<void>
  /** Resolves with the exit code when the process has ended, for any reason. */
  ended: Promise<number>
  /**
   * Refuses new requests, waits up to ten seconds for requests in progress and for the queue, and ends the
   * process.
   *
   * @param immediate aborts to end the wait at once
   * @returns the work that is left; undefined when the Worker does not answer
   */
  stop(immediate: AbortSignal): Promise<Left | undefined>
}

export interface WorkerOptions extends Pick<WorkerSettings, "host" | "port" | "stateDir" | "postgresPid"> {
  environment: SettingTexts
  /** Receives the Worker's data points. Without it they are dropped. */
  analytics?: LocalAnalytics | undefined
  /** Host names of the service, besides localhost and addresses. */
  knownHosts: string[]
  /** Shows a line of the Worker's log. */
  log(line: string): void
}

const QUIET = {
  // Both settings turn off requests to Cloudflare.
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  WRANGLER_SEND_METRICS: "false",
  WRANGLER_HIDE_BANNER: "true",
  // `structuredLogsHandler` delivers the Worker's own lines.
  WRANGLER_LOG: "error",
  NO_COLOR: "1",
  // Off: it lets a browser read and change the data of the local bindings.
  X_LOCAL_EXPLORER: "false",
  // Only npm start sets the settings, not the environment.
  CLOUDFLARE_INCLUDE_PROCESS_ENV: "false",
}

/** Runs the Worker in workerd, in a child process that ends with this process. */
export function startWorker({
  environment,
  analytics,
  knownHosts,
  log,
  ...options
}: WorkerOptions): LocalWorker {
  if (!existsSync(join(ROOT, "node_modules/wrangler")))
    throw new StartupError("wrangler is not installed. Run npm ci.")
  const child = fork(new URL("process.ts", import.meta.url), {
    cwd: ROOT,
    // In a process group of its own: Ctrl-C then reaches only this process, which stops everything in order.
    detached: true,
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    env: { ...process.env, ...QUIET },
  })
  let stopping = false
  let quiet = false
  const drained = Promise.withResolvers<Left | undefined>()
  const resumed = Promise.withResolvers<void>()
  child.on("message", (message: FromWorker) => {
    if (message.kind === "log" && !quiet) log(message.message)
    if (message.kind === "drained") drained.resolve(message.left)
    // After its last request the Worker only logs errors about interrupted work.
    quiet ||= message.kind === "drained"
    if (message.kind === "resumed") resumed.resolve()
  })
  // While the Worker stops, it logs errors about interrupted work, which do not matter.
  for (const stream of [child.stdout, child.stderr])
    if (stream)
      createInterface({ input: stream }).on("line", (line) => stopping || line.trim() === "" || log(line))
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", reject)
    child.once("exit", (code) => resolve(code ?? 1))
  })
  ended.catch(() => {}).finally(() => drained.resolve(undefined))

  const points = analytics && { POINTS_URL: analytics.pointsUrl, POINTS_TOKEN: analytics.token }
  const token = randomBytes(24).toString("base64url")
  const variables = {
    ...environment,
    ...points,
    LOCAL_TOKEN: token,
    LOCAL_HOSTS: knownHosts.join(" ").toLowerCase(),
  }
  const [config, entrypoint] = [join(ROOT, "wrangler.toml"), join(ROOT, "src/local/workerd/entry.ts")]
  send(child, { kind: "start", settings: { ...options, config, entrypoint, variables } })
  return {
    pid: child.pid,
    resumed: resumed.promise,
    ended,
    async stop(immediate) {
      stopping = true
      immediate.addEventListener("abort", () => drained.resolve(undefined))
      if (immediate.aborted) drained.resolve(undefined)
      else send(child, { kind: "stop" })
      const left = await drained.promise
      if (!immediate.aborted)
        await Promise.race([
          ended.catch(() => {}),
          sleep(END_MS, undefined, { ref: false, signal: immediate }).catch(() => {}),
        ])
      endGroup(child)
      await ended.catch(() => {})
      return left
    },
  }
}

function send(child: ChildProcess, message: ToWorker): void {
  // A process that has just ended takes no message; `ended` reports it.
  if (child.connected) child.send(message, () => {})
}

/** Kills the process and its children. Nothing is lost: its data is on the disk and survives a crash. */
function endGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL")
  } catch {
    // The whole group has ended already.
  }
}
