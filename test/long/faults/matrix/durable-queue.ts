import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import type { QueuedMessage } from "../../../setup/queued-bundle.ts"

/**
 * A queue whose messages outlive the Worker, as Cloudflare's do and Miniflare's do not: the Worker's binding
 * posts what it sends here. It fails on request.
 */
export interface DurableQueue {
  url: string
  /** While true, every send is answered with an error, and nothing is kept. */
  fails: boolean
  /** Messages that wait for the consumer, the oldest first. */
  waiting: QueuedMessage[]
  stop(): Promise<void>
}

export async function startDurableQueue(): Promise<DurableQueue> {
  const queue: Pick<DurableQueue, "fails" | "waiting"> = { fails: false, waiting: [] }
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    if (queue.fails) return response.writeHead(500).end()
    for (const body of JSON.parse(Buffer.concat(chunks).toString()) as string[])
      queue.waiting.push({ id: crypto.randomUUID(), timestamp: new Date(), attempts: 1, body })
    response.writeHead(204).end()
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return Object.assign(queue, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, "close")
    },
  })
}

/** The Worker that stands between the service and the durable queue, and a bucket that always fails. */
export const BINDINGS_WORKER = `
  import { WorkerEntrypoint } from "cloudflare:workers"
  export class Queue extends WorkerEntrypoint {
    async #post(bodies) {
      const response = await fetch(this.env.QUEUE_URL, { method: "POST", body: JSON.stringify(bodies) })
      if (!response.ok) throw new Error("the queue fails")
    }
    send(body) { return this.#post([body]) }
    sendBatch(messages) { return this.#post([...messages].map(({ body }) => body)) }
  }
  const fail = async () => { throw new Error("the bucket fails") }
  export class FailingBucket extends WorkerEntrypoint {
    get() { return fail() }
    put() { return fail() }
    head() { return fail() }
    delete() { return fail() }
    list() { return fail() }
  }
  export default { fetch: () => new Response(null, { status: 404 }) }`
