import { readFile, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { convertV4MiniflareOptions, Miniflare } from "miniflare"
import { Client } from "pg"
import { freePort } from "../../../src/local/machine/ports.ts"
import { type NeonEndpoint, startNeonEndpoint } from "../../../src/local/neon/endpoint.ts"
import { migrate } from "../../../src/local/postgres/migrate.ts"
import { type LocalPostgres, startTemporaryPostgres } from "../../../src/local/postgres/postgres.ts"
import { createServiceLogin } from "../../../src/local/postgres/service-login.ts"
import {
  BINDINGS_WORKER,
  type DurableQueue,
  startDurableQueue,
} from "../../long/faults/matrix/durable-queue.ts"
import { descendants } from "../../setup/processes.ts"
import type { QueuedMessage } from "../../setup/queued-bundle.ts"
import { SIGNING_SECRET } from "../../setup/slack.ts"
import type { Bundle } from "../../setup/workerd.ts"

/** The deployed bundle with a queue and a bucket that survive it, in front of a database that may fail. */
export interface Stand {
  address: string
  postgres: LocalPostgres
  endpoint: NeonEndpoint
  queue: DurableQueue
  query<Row>(text: string, values?: unknown[]): Promise<Row[]>
  /** Hands waiting messages to the consumer once, up to 100. */
  pump(): Promise<void>
  /** The messages that wait, and those that the consumer has now. */
  unsettledMessages(): number
  /** Runs the cron once. */
  sweep(): Promise<void>
  /** Ends the Worker as a crash does, and starts it again. */
  crash(): Promise<void>
  stop(): Promise<void>
}

const QUEUE = "signal-ingest"
/** The text by which the database refuses a row that passed every rule. */
export const REFUSED_TEXT = "refused by the database"
/** Partitions of so few ids that a run makes dozens of them. */
const PARTITION_ROWS = 700

export async function startStand(bundle: Omit<Bundle, "remove">): Promise<Stand> {
  const postgres = await startTemporaryPostgres(undefined, { callerHandlesSignals: true })
  await migrate(postgres.url)
  const query = async <Row>(text: string, values: unknown[] = []) => {
    const client = new Client({ connectionString: postgres.url })
    client.on("error", () => {})
    await client.connect()
    try {
      return (await client.query(text, values)).rows as Row[]
    } finally {
      await client.end().catch(() => {})
    }
  }
  await query(`create or replace function signal_partition_rows() returns int8 immutable language sql
    as 'select ${PARTITION_ROWS}::int8'`)
  await query(`alter table signals add check (raw_content not like '${REFUSED_TEXT}%')`)
  const endpoint = await startNeonEndpoint()
  const queue = await startDurableQueue()
  const port = await freePort()
  const objects = join(tmpdir(), `signal-ingest-stress-${port}`)
  const contents = await readFile(bundle.path, "utf8")
  const bindings = {
    DATABASE_URL: await createServiceLogin(postgres.url),
    DATABASE_HTTP_ENDPOINT: endpoint.url,
    OPEN_ACCESS: "true",
    DATABASE_DEADLINE_MS: "2000",
    SLACK_SIGNING_SECRET: SIGNING_SECRET,
    SLACK_FOLLOW_EDITS: "true",
  }
  const start = async () => {
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
            bindings,
            serviceBindings: { QUEUE: { name: "bindings", entrypoint: "Queue" } },
            r2Buckets: ["BUCKET"],
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
      // After the conversion, which removes it.
      resourcePersistencePath: objects,
    })
    await miniflare.ready
    return { miniflare, worker: await miniflare.getWorker("service") }
  }
  let running = await start()
  let handed = 0

  return {
    address: `http://127.0.0.1:${port}`,
    postgres,
    endpoint,
    queue,
    query,
    async pump() {
      const messages = queue.waiting.splice(0, 100)
      if (messages.length === 0) return
      handed = messages.length
      const again = await notSettled(messages, async () => running.worker.queue(QUEUE, [...messages]))
      queue.waiting.push(...again.map((message) => ({ ...message, attempts: message.attempts + 1 })))
      handed = 0
    },
    unsettledMessages: () => queue.waiting.length + handed,
    async sweep() {
      try {
        await running.worker.scheduled({ cron: "17 * * * *" })
      } catch {
        // The Worker ends meanwhile. The next cron continues.
      }
    },
    async crash() {
      for (const { pid, command } of await descendants(process.pid))
        if (command.includes("workerd serve")) process.kill(pid, "SIGKILL")
      await running.miniflare.dispose().catch(() => {})
      running = await start()
    },
    async stop() {
      await running.miniflare.dispose()
      await queue.stop()
      await endpoint.stop()
      await postgres.stop()
      await rm(objects, { recursive: true, force: true })
    },
  }
}

interface QueueResult {
  outcome: string
  retryBatch: { retry: boolean }
  retryMessages: readonly { msgId: string }[]
}

/** The messages to deliver again. As at Cloudflare, a handler that throws has settled none. */
async function notSettled(
  messages: readonly QueuedMessage[],
  handOver: () => Promise<QueueResult>,
): Promise<readonly QueuedMessage[]> {
  const result = await handOver().catch(() => undefined)
  if (result?.outcome !== "ok") return messages
  const retried = new Set(result.retryMessages.map(({ msgId }) => msgId))
  return messages.filter(({ id }) => result.retryBatch.retry || retried.has(id))
}
