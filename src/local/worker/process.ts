import type { ChildProcess } from "node:child_process"
import { subscribe } from "node:diagnostics_channel"
import { accessSync, constants, mkdirSync } from "node:fs"
import { flushCompileCache } from "node:module"
import { dirname, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { unstable_startWorker } from "wrangler"
import { DRAIN_MS, type FromWorker, type Left, type ToWorker, type WorkerSettings } from "./messages.ts"

const DISPOSE_MS = 3000
const MINUTE_MS = 60 * 1000
const HOUR_MS = 60 * MINUTE_MS

function send(message: FromWorker, sent: () => void = () => {}): void {
  if (process.connected) process.send?.(message, sent)
}

/** Calls one of the `CONTROLS` of the running Worker's entry. */
type Control = <Answer>(path: string) => Promise<Answer>

type Wrangler = Awaited<ReturnType<typeof unstable_startWorker>>

/** What runs already. `control` is set when the Worker takes requests. */
const running: { wrangler?: Wrangler; control?: Control } = {}

async function start(settings: WorkerSettings): Promise<void> {
  requireWritable(settings)
  const wrangler = await unstable_startWorker({
    config: settings.config,
    entrypoint: settings.entrypoint,
    // wrangler must not read .dev.vars or .env: npm start has read the settings.
    envFiles: [],
    bindings: {
      ...Object.fromEntries(
        Object.entries(settings.variables).map(([name, value]) => [
          name,
          { type: "secret_text" as const, value },
        ]),
      ),
      LOCAL_MESSAGES: { type: "r2_bucket", bucket_name: "signal-ingest-local-messages" },
    },
    dev: {
      remote: false,
      server: { hostname: settings.host, port: settings.port },
      // No debugger: its port checks neither Host nor Origin, so every web page could read the Worker's
      // settings.
      inspector: false,
      persist: settings.stateDir,
      watch: true,
      structuredLogsHandler: ({ level, message }: { level: string; message: string }) =>
        send({ kind: "log", level, message }),
    },
  })
  running.wrangler = wrangler
  // Later, after a change of its source, wrangler waits for the next change.
  wrangler.raw.once("buildFailed", () => running.control ?? fail("The Worker could not be built."))
  await wrangler.ready
  const control: Control = async (path) => {
    const response = await wrangler.fetch(`http://localhost${path}`, {
      method: "POST",
      headers: { Authorization: `Bearer ${settings.variables.LOCAL_TOKEN}` },
    })
    if (!response.ok) throw new Error(`${path} answered ${response.status}`)
    return (await response.json()) as never
  }
  running.control = control
  // A Worker that is reloaded, such as after a change of its source, starts with an empty queue.
  const resume = () => control("/local/resume").catch(complain)
  wrangler.raw.on("reloadComplete", () => void resume())
  await resume()
  send({ kind: "resumed" })
  // Node stores compiled code when a process exits, but this process is killed.
  flushCompileCache()
  const sweep = () => void control("/local/scheduled").catch(complain)
  sweep()
  setInterval(sweep, HOUR_MS)
  setInterval(() => void control("/local/every-minute").catch(complain), MINUTE_MS)
}

let stopping = false

/**
 * wrangler does not notice when workerd ends, and every request would fail. When it reloads the Worker,
 * wrangler kills workerd itself.
 */
subscribe("child_process", (message) => {
  const { process: child } = message as { process: ChildProcess }
  child.once("exit", (code, signal) => {
    if (stopping || child.killed || !/workerd/.test(child.spawnfile)) return
    fail(`workerd ended by itself (${signal ?? `code ${code}`}).`)
  })
})

/** Waits for requests and messages in progress, leaves the rest to the next start, and ends this process. */
async function stop(): Promise<void> {
  stopping = true
  const left = running.control ? await drain(running.control) : { requests: 0, messages: 0 }
  send({ kind: "drained", left })
  await dispose()
  process.exit(0)
}

async function drain(control: Control): Promise<Left> {
  let left: Left = { requests: 0, messages: 0 }
  for (const deadline = Date.now() + DRAIN_MS; ; await sleep(100)) {
    // A workerd that was killed never answers.
    left = await Promise.race([control<Left>("/local/stop").catch(() => left), sleep(DISPOSE_MS, left)])
    if (left.requests + left.messages === 0 || Date.now() > deadline) return left
  }
}

/** Removes wrangler's temporary folders. `wrangler.dispose` would first wait until the Worker runs. */
async function dispose(): Promise<void> {
  await Promise.race([running.wrangler?.raw.teardown().catch(() => {}), sleep(DISPOSE_MS)])
}

/** Writes an error to the log, except about work that the stop has interrupted. */
function complain(error: unknown): void {
  if (!stopping)
    send({ kind: "log", level: "error", message: error instanceof Error ? error.message : String(error) })
}

function fail(error: unknown): void {
  if (stopping) return
  complain(error)
  send({ kind: "failed" }, () => process.exit(1))
}

/** wrangler writes there, and hangs when it cannot. */
function requireWritable({ config }: WorkerSettings): void {
  const folder = join(dirname(config), ".wrangler/tmp")
  try {
    mkdirSync(folder, { recursive: true })
    accessSync(folder, constants.W_OK)
  } catch {
    throw new Error(
      `npm start writes into ${folder}, which this user cannot write. Copy the project into a folder of your own, or allow writing there.`,
    )
  }
}

/** Ends everything that was started when the parent process disappears. */
function endWithParent({ postgresPid }: WorkerSettings): void {
  process.on("disconnect", async () => {
    try {
      if (postgresPid !== undefined) process.kill(postgresPid, "SIGINT")
    } catch {
      // The server has already ended.
    }
    stopping = true
    await dispose()
    // workerd is in the process group of this process.
    process.kill(-process.pid, "SIGKILL")
  })
}

process.on("message", (message: ToWorker) => {
  if (message.kind === "stop") return void stop()
  endWithParent(message.settings)
  start(message.settings).catch(fail)
})
