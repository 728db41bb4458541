import { readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { convertV4MiniflareOptions, Miniflare } from "miniflare"
import { inject } from "vitest"
import { freePort } from "../../../../src/local/machine/ports.ts"
import { type RecordingProxy, startRecordingProxy } from "../../../setup/history/proxy.ts"
import { descendants } from "../../../setup/processes.ts"
import type { QueuedMessage } from "../../../setup/queued-bundle.ts"
import { type Storage, startStorage } from "../../../setup/rig.ts"
import { SIGNING_SECRET } from "../../../setup/slack.ts"
import { BINDINGS_WORKER, type DurableQueue, startDurableQueue } from "./durable-queue.ts"
import type { SmallDisk } from "./small-disk.ts"

/** The deployed bundle with a queue and a bucket that survive it, in front of a database that may fail. */
export interface Stand {
  /** The same after every restart: that of a proxy, which notes what all senders send. */
  address: string
  proxy: RecordingProxy
  storage: Storage
  /** Where the database keeps its data; undefined where none can be mounted. */
  disk: SmallDisk | undefined
  queue: DurableQueue
  /** The messages that wait, and those that the consumer has and has not settled. */
  unsettled(): number
  /** Ends the Worker in good order and starts it again, with other settings or another bucket. */
  restart(changes?: Changes): Promise<void>
  /** Ends the Worker as a crash does, and starts it again. */
  crash(): Promise<void>
  /** Hands waiting messages to the consumer once, up to 100. */
  pump(): Promise<void>
  stop(): Promise<void>
}

interface Changes {
  settings?: Record<string, string>
  bucketFails?: boolean
}

const QUEUE = "signal-ingest"

/** Short, so that a caller of a database that does not answer gets its 503 soon. */
const DEADLINE_MS = "1000"

export async function startStand(disk: SmallDisk | undefined): Promise<Stand> {
  const storage = await startStorage(disk?.path)
  const queue = await startDurableQueue()
  const port = await freePort()
  const bundle = inject("bundle")
  const contents = await readFile(bundle.path, "utf8")
  const objects = join(tmpdir(), `signal-ingest-bucket-${port}`)
  const settings = {
    ...storage.bindings,
    DATABASE_DEADLINE_MS: DEADLINE_MS,
    SLACK_SIGNING_SECRET: SIGNING_SECRET,
  }

  const start = async ({ settings: changed = {}, bucketFails = false }: Changes = {}) => {
    const miniflare = new Miniflare({
      ...convertV4MiniflareOptions({
        host: "127.0.0.1",
        port,
        cf: false,
        handleStructuredLogs: () => {},
        workers: [
          {
            name: "service",
            modulesRoot: dirname(bundle.path),
            modules: [{ type: "ESModule", path: bundle.path, contents }],
            compatibilityDate: bundle.compatibilityDate,
            compatibilityFlags: bundle.compatibilityFlags,
            bindings: { ...settings, ...changed },
            serviceBindings: {
              QUEUE: { name: "bindings", entrypoint: "Queue" },
              ...(bucketFails && { BUCKET: { name: "bindings", entrypoint: "FailingBucket" } }),
            },
            ...(!bucketFails && { r2Buckets: ["BUCKET"] }),
          },
          {
            name: "bindings",
            modules: true,
            script: BINDINGS_WORKER,
            compatibilityDate: bundle.compatibilityDate,
            bindings: { QUEUE_URL: queue.url },
          },
        ],
      }),
      // After the conversion, which sets it to nothing.
      resourcePersistencePath: objects,
    })
    await miniflare.ready
    return { miniflare, worker: await miniflare.getWorker("service") }
  }
  let running = await start()
  const proxy = await startRecordingProxy(`http://127.0.0.1:${port}`)

  /** Undefined when the Worker ends meanwhile, or has ended: Miniflare then throws as soon as it is asked. */
  async function handOver(messages: QueuedMessage[]) {
    try {
      return await running.worker.queue(QUEUE, messages)
    } catch {
      return undefined
    }
  }

  let inHand = 0

  return {
    address: proxy.address,
    proxy,
    storage,
    disk,
    queue,
    unsettled: () => queue.waiting.length + inHand,
    async restart(changes) {
      await running.miniflare.dispose()
      running = await start(changes)
    },
    async crash() {
      for (const { pid, command } of await descendants(process.pid))
        if (command.includes("workerd serve")) process.kill(pid, "SIGKILL")
      await running.miniflare.dispose()
      running = await start()
    },
    async pump() {
      const messages = queue.waiting.splice(0, 100)
      if (messages.length === 0) return
      inHand = messages.length
      const result = await handOver(messages)
      const retried = new Set(result?.retryMessages.map(({ msgId }) => msgId))
      // A handler that throws has said nothing, and then Cloudflare delivers all of them again.
      const again =
        result?.outcome === "ok"
          ? messages.filter(({ id }) => result.retryBatch.retry || retried.has(id))
          : messages
      queue.waiting.push(...again.map((message) => ({ ...message, attempts: message.attempts + 1 })))
      inHand = 0
    },
    async stop() {
      await proxy.stop()
      await running.miniflare.dispose()
      await queue.stop()
      await storage.stop()
      await rm(objects, { recursive: true, force: true })
    },
  }
}
