import config from "../../../wrangler.toml?raw"
import { type PlayedMessage, playedMessage } from "./messages.ts"

const SECOND = 1000
/** The longest that Cloudflare keeps a message: https://developers.cloudflare.com/queues/platform/limits/ */
const RETENTION_MS = 14 * 24 * 60 * 60 * SECOND

interface Waiting {
  id: string
  body: string
  failures: number
  sentAt: number
  dueAt: number
}

/** What `wrangler.toml` says of a queue's consumer. */
function settingsOf(name: string) {
  const block =
    config.split("[[queues.consumers]]").find((text) => text.startsWith(`\nqueue = "${name}"\n`)) ?? ""
  const setting = (key: string) => {
    const [, value] = new RegExp(`^${key} = "?([^"\\n]+)"?$`, "m").exec(block) ?? []
    return value
  }
  const number = (key: string) => {
    const value = Number(setting(key))
    if (!Number.isInteger(value)) throw new Error(`wrangler.toml has no ${key} for the queue ${name}`)
    return value
  }
  return {
    maxBatchSize: number("max_batch_size"),
    maxRetries: number("max_retries"),
    retryDelayMs: number("retry_delay") * SECOND,
    deadLetterQueue: setting("dead_letter_queue"),
  }
}

/**
 * A queue by Cloudflare's rules on a clock of the test's: batches, retries, retention, and what becomes of a
 * message after its last retry.
 */
export class SimulatedQueue {
  readonly settings: ReturnType<typeof settingsOf>
  readonly name: string
  private readonly clock: { now: number }
  private readonly deadLetters: SimulatedQueue | undefined
  private waiting: Waiting[] = []
  /** What was deleted without an acknowledgement. */
  readonly deleted: Waiting[] = []
  moved = 0
  peak = 0

  constructor(name: string, clock: { now: number }, deadLetters?: SimulatedQueue) {
    this.name = name
    this.clock = clock
    this.deadLetters = deadLetters
    this.settings = settingsOf(name)
    if (this.settings.deadLetterQueue !== deadLetters?.name)
      throw new Error(`wrangler.toml names another queue after ${name}`)
  }

  get size(): number {
    return this.waiting.length
  }

  get nextAt(): number {
    return Math.min(...this.waiting.map(({ dueAt }) => dueAt))
  }

  /** The binding of a producer. */
  get binding(): Queue {
    const take = async (bodies: string[]) => {
      for (const body of bodies)
        this.put({
          id: crypto.randomUUID(),
          body,
          failures: 0,
          sentAt: this.clock.now,
          dueAt: this.clock.now,
        })
    }
    return {
      metrics: async () => ({ backlogCount: this.size, backlogBytes: 0 }),
      send: (body: string) => take([body]),
      sendBatch: (messages: Iterable<{ body: string }>) => take([...messages].map(({ body }) => body)),
    } as unknown as Queue
  }

  private put(message: Waiting): void {
    this.waiting.push(message)
    this.peak = Math.max(this.peak, this.size)
  }

  /**
   * Delivers what is due, a batch at a time. A consumer that throws has all of its messages retried after
   * `retry_delay`.
   */
  async deliver(consumer: (messages: PlayedMessage[], queue: string) => Promise<void>): Promise<void> {
    this.expire()
    const due = this.waiting.filter(({ dueAt }) => dueAt <= this.clock.now)
    for (let start = 0; start < due.length; start += this.settings.maxBatchSize) {
      const some = due.slice(start, start + this.settings.maxBatchSize)
      const played = some.map(({ id, body, failures }) => playedMessage(body, failures + 1, id))
      const ended = await consumer(played, this.name).then(
        () => true,
        () => false,
      )
      for (const [index, message] of some.entries()) {
        // Without an exception, a message that the consumer says nothing of is acknowledged.
        const said =
          played[index]?.said ??
          (ended ? { acknowledged: true } : { delaySeconds: this.settings.retryDelayMs / SECOND })
        if ("acknowledged" in said) this.waiting.splice(this.waiting.indexOf(message), 1)
        else this.retry(message, said.delaySeconds * SECOND)
      }
    }
  }

  private retry(message: Waiting, delayMs: number): void {
    message.failures++
    message.dueAt = this.clock.now + delayMs
    if (message.failures <= this.settings.maxRetries) return
    this.waiting.splice(this.waiting.indexOf(message), 1)
    // The age of a moved message counts from when it was first sent: the worst that Cloudflare may do.
    if (this.deadLetters) this.deadLetters.put({ ...message, failures: 0, dueAt: this.clock.now })
    else this.deleted.push(message)
    this.moved++
  }

  private expire(): void {
    const isExpired = ({ sentAt }: Waiting) => this.clock.now - sentAt > RETENTION_MS
    this.deleted.push(...this.waiting.filter(isExpired))
    this.waiting = this.waiting.filter((message) => !isExpired(message))
  }
}
