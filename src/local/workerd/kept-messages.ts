/**
 * A queue that survives a crash, as Cloudflare's queues do. Miniflare's queue is in memory, so each message
 * is written to a bucket before it is sent, and removed when its consumer has acknowledged it. After a
 * restart the messages in the bucket are sent again. A message can arrive twice, as at Cloudflare.
 */
export class KeptMessages {
  readonly #bucket: R2Bucket
  readonly #queue: Queue | undefined

  constructor(bucket: R2Bucket, queue: Queue | undefined) {
    this.#bucket = bucket
    this.#queue = queue
  }

  /** The queue for the service's code, which sends texts. */
  queue(): Queue {
    const send: Queue["send"] = async (body, options) => {
      const text = textOf(body)
      const id = crypto.randomUUID()
      await this.#bucket.put(id, text)
      return this.#send(id, text, options)
    }
    const sendBatch: Queue["sendBatch"] = async (messages, options) => {
      const kept = [...messages].map(({ body, ...own }) => ({
        ...own,
        id: crypto.randomUUID(),
        text: textOf(body),
      }))
      await Promise.all(kept.map(({ id, text }) => this.#bucket.put(id, text)))
      const wrapped = kept.map(({ id, text, ...own }) => ({
        ...own,
        body: wrap(id, text),
        contentType: "text" as const,
      }))
      return this.#producer().sendBatch(wrapped, options)
    }
    const metrics = () => this.#producer().metrics()
    return { send, sendBatch, metrics }
  }

  /** How many messages wait. */
  async count(): Promise<number> {
    let count = 0
    for await (const ids of this.#pages()) count += ids.length
    return count
  }

  /** Sends every message again. Returns how many. */
  async sendAgain(): Promise<number> {
    let count = 0
    if (!this.#queue) return count
    for await (const ids of this.#pages()) {
      for (const id of ids) {
        const text = await (await this.#bucket.get(id))?.text()
        // Its consumer may just have acknowledged it.
        if (text === undefined) continue
        await this.#send(id, text)
        count++
      }
    }
    return count
  }

  async forget(ids: string[]): Promise<void> {
    // R2 deletes at most 1,000 at a time, and a batch has at most 100.
    if (ids.length > 0) await this.#bucket.delete(ids)
  }

  #producer(): Queue {
    if (!this.#queue) throw new Error("wrangler.toml binds no queue")
    return this.#queue
  }

  #send(id: string, text: string, options?: QueueSendOptions) {
    return this.#producer().send(wrap(id, text), { ...options, contentType: "text" })
  }

  async *#pages(): AsyncGenerator<string[]> {
    let cursor: string | undefined
    do {
      const page = await this.#bucket.list({ limit: 1000, ...(cursor !== undefined && { cursor }) })
      yield page.objects.map(({ key }) => key)
      cursor = page.truncated ? page.cursor : undefined
    } while (cursor !== undefined)
  }
}

const wrap = (id: string, text: string) => `${id}\n${text}`

function textOf(body: unknown): string {
  if (typeof body !== "string") throw new TypeError("The local queue accepts only text.")
  return body
}

/** The outcome of a message; undefined while its consumer has not reported one. */
type Outcome = "acknowledged" | "retried" | undefined

/**
 * Restores the batch as the service sent it. A message keeps its id over restarts.
 *
 * @returns the batch, and `acknowledged`, which returns the ids of the acknowledged messages. A consumer that
 *   returns acknowledges every
 *   message that it did not retry
 */
export function unwrapBatch(batch: MessageBatch<unknown>) {
  const outcomes = new Map<string, Outcome>()
  const messages = batch.messages.map((message) => {
    const body = textOf(message.body)
    const end = body.indexOf("\n")
    const id = body.slice(0, end)
    outcomes.set(id, undefined)
    return {
      id,
      timestamp: message.timestamp,
      attempts: message.attempts,
      body: body.slice(end + 1),
      ack() {
        outcomes.set(id, "acknowledged")
        message.ack()
      },
      retry(options?: QueueRetryOptions) {
        outcomes.set(id, "retried")
        message.retry(options)
      },
    }
  })
  const unwrapped: MessageBatch<unknown> = {
    messages,
    queue: batch.queue,
    metadata: batch.metadata,
    ackAll: () => {
      for (const message of messages) message.ack()
    },
    retryAll: (options?: QueueRetryOptions) => {
      for (const message of messages) message.retry(options)
    },
  }
  const acknowledged = ({ returned }: { returned: boolean }) =>
    [...outcomes]
      .filter(([, outcome]) => outcome === "acknowledged" || (returned && !outcome))
      .map(([id]) => id)
  return { unwrapped, acknowledged }
}
