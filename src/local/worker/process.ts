import type { ChildProcess } from "node:child_process"
import { subscribe } from "node:diagnostics_channel"
import { flushCompileCache } from "node:module"
import { setTimeout as sleep } from "node:timers/promises"
import { unstable_startWorker } from "wrangler"
import { DRAIN_MS, type FromWorker, type Left, type ToWorker, type WorkerSettings } from "./messages.ts"

const DISPOSE_MS = 3000
const HOUR_MS = 60 * 60 * 1000

function send(message: FromWorker, sent: () => void = () => {}): void {
  if (process.connected) process.send?.(message, sent)
}

const worker = Promise.withResolvers<{ control: Control; dispose(): Promise<void> }>()

/** Calls one of the `CONTROLS` of the running Worker's entry. */
type Control = <Answer>(path: string) => Promise<Answer>

async function start(settings: WorkerSettings): Promise<void> {
  const running = await unstable_startWorker({
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
  await running.ready
  const control: Control = async (path) => {
    const response = await running.fetch(`http://localhost${path}`, {
      method: "POST",
      headers: { Authorization: `Bearer ${settings.variables.LOCAL_TOKEN}` },
    })
    if (!response.ok) throw new Error(`${path} answered ${response.status}`)
    return (await response.json()) as never
  }
  worker.resolve({ control, dispose: running.dispose })
  // A Worker that is reloaded, such as after a change of its source, starts with an empty queue.
  const resume = () => control("/local/resume").catch(complain)
  running.raw.on("reloadComplete", () => void resume())
  await resume()
  send({ kind: "resumed" })
  // Node stores compiled code when a process exits, but this process is killed.
  flushCompileCache()
  const sweep = () => void control("/local/scheduled").catch(complain)
  sweep()
  setInterval(sweep, HOUR_MS)
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
    complain(`workerd ended by itself (${signal ?? `code ${code}`}).`)
    send({ kind: "failed" }, () => process.exit(1))
  })
})

/** Waits for requests and messages in progress, leaves the rest to the next start, and ends this process. */
async function stop(): Promise<void> {
  stopping = true
  const { control, dispose } = await worker.promise
  let left: Left = { requests: 0, messages: 0 }
  for (const deadline = Date.now() + DRAIN_MS; ; await sleep(100)) {
    // A workerd that was killed never answers.
    left = await Promise.race([control<Left>("/local/stop").catch(() => left), sleep(DISPOSE_MS, left)])
    if (left.requests + left.messages === 0 || Date.now() > deadline) break
  }
  send({ kind: "drained", left })
  await Promise.race([dispose().catch(complain), sleep(DISPOSE_MS)])
  process.exit(0)
}

function complain(error: unknown): void {
  send({ kind: "log", level: "error", message: error instanceof Error ? error.message : String(error) })
}

/** Ends everything that was started when the parent process disappears. */
function endWithParent({ postgresPid }: WorkerSettings): void {
  process.on("disconnect", async () => {
    try {
      if (postgresPid !== undefined) process.kill(postgresPid, "SIGINT")
    } catch {
      // The server has already ended.
    }
    // Removes wrangler's temporary folders.
    const disposed = worker.promise.then(({ dispose }) => dispose())
    await Promise.race([disposed.catch(() => {}), sleep(DISPOSE_MS)])
    // workerd is in the process group of this process.
    process.kill(-process.pid, "SIGKILL")
  })
}

process.on("message", (message: ToWorker) => {
  if (message.kind === "stop") return void stop()
  endWithParent(message.settings)
  start(message.settings).catch((error) => {
    complain(error)
    send({ kind: "failed" }, () => process.exit(1))
  })
})
