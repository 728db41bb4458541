import { readFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { convertV4MiniflareOptions, Miniflare } from "miniflare"
import { ROOT } from "../../src/local/machine/root.ts"
import type { Bundle } from "./workerd.ts"

/** One message as Cloudflare hands it to a consumer. */
export interface QueuedMessage {
  id: string
  timestamp: Date
  attempts: number
  body: string
}

/** What became of messages that were handed to the consumer. */
interface Consumed {
  acknowledged: string[]
  /** Those to be delivered again. */
  retried: string[]
}

/** A bundle with a queue and a bucket, on workerd under Miniflare, whose queue lives in memory. */
export interface QueuedBundle {
  address: string
  /**
   * Hands messages to the consumer as Cloudflare does, past the queue. Rejects when the Worker ends on the
   * way.
   */
  consume(messages: readonly QueuedMessage[]): Promise<Consumed>
  /**
   * Runs a cron trigger, as Cloudflare does. Rejects when the Worker ends on the way.
   *
   * @param at the time that it has for the Worker; default: now
   */
  runCron(cron: string, at?: Date): Promise<void>
  /** What it has written to its log so far, one entry a line. */
  log: readonly string[]
  stop(): Promise<void>
}

const QUEUE = "signal-ingest"

interface WranglerToml {
  queues?: {
    consumers?: {
      queue: string
      max_batch_size?: number
      max_batch_timeout?: number
      max_retries?: number
      retry_delay?: number
      dead_letter_queue?: string
    }[]
  }
}

/** The consumers that wrangler.toml declares, as Miniflare has them. */
async function queueConsumers() {
  const { experimental_readRawConfig: readConfig } = await import("wrangler")
  const { queues }: WranglerToml = readConfig({ config: join(ROOT, "wrangler.toml") }).rawConfig
  const consumers = queues?.consumers ?? []
  return Object.fromEntries(
    consumers.map(
      ({ queue, max_batch_size, max_batch_timeout, max_retries, retry_delay, dead_letter_queue }) => [
        queue,
        {
          ...(max_batch_size !== undefined && { maxBatchSize: max_batch_size }),
          ...(max_batch_timeout !== undefined && { maxBatchTimeout: max_batch_timeout }),
          ...(max_retries !== undefined && { maxRetries: max_retries }),
          ...(retry_delay !== undefined && { retryDelay: retry_delay }),
          ...(dead_letter_queue !== undefined && { deadLetterQueue: dead_letter_queue }),
        },
      ],
    ),
  )
}

/**
 * @param settings the Worker's text bindings
 * @param options.keptIn a folder that keeps the bucket when the Worker is killed; default: memory
 */
export async function runQueuedBundle(
  bundle: Omit<Bundle, "remove">,
  settings: Record<string, string>,
  { keptIn }: { keptIn?: string } = {},
): Promise<QueuedBundle> {
  const log: string[] = []
  const miniflare = new Miniflare({
    ...convertV4MiniflareOptions({
      modulesRoot: dirname(bundle.path),
      modules: [{ type: "ESModule", path: bundle.path, contents: await readFile(bundle.path, "utf8") }],
      compatibilityDate: bundle.compatibilityDate,
      compatibilityFlags: bundle.compatibilityFlags,
      bindings: settings,
      queueProducers: { QUEUE, DELIVERIES: "signal-ingest-deliveries" },
      queueConsumers: await queueConsumers(),
      r2Buckets: ["BUCKET"],
      host: "127.0.0.1",
      port: 0,
      cf: false,
      handleStructuredLogs: ({ message }) => log.push(message),
    }),
    ...(keptIn && { resourcePersistencePath: keptIn }),
  })
  const url = await miniflare.ready
  const worker = await miniflare.getWorker()
  return {
    address: url.origin,
    log,
    async consume(messages) {
      const { outcome, explicitAcks, retryMessages, ackAll, retryBatch } = await worker.queue(QUEUE, [
        ...messages,
      ])
      if (outcome !== "ok") return { acknowledged: [], retried: messages.map(({ id }) => id) }
      const retried = retryBatch.retry
        ? messages.map(({ id }) => id)
        : retryMessages.map(({ msgId }) => msgId)
      const again = new Set(retried)
      // As at Cloudflare, what the handler says nothing of is acknowledged when it ends well.
      const unsaid = messages.map(({ id }) => id).filter((id) => !again.has(id))
      return { acknowledged: ackAll ? unsaid : [...new Set([...explicitAcks, ...unsaid])], retried }
    },
    async runCron(cron, at = new Date()) {
      await worker.scheduled({ cron, scheduledTime: at })
    },
    stop: () => miniflare.dispose(),
  }
}
