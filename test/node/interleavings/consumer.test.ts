import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest"
import type { Bindings } from "../../../src/bindings.ts"
import { consume } from "../../../src/consumer/consume.ts"
import { messageText } from "../../../src/queue/messages.ts"
import { batchOf } from "../store/statements.ts"
import { type Clock, onClock, pick, SCHEDULES, SEED } from "./clock.ts"
import { type Fate, ModelDatabase, STATEMENT_FATES } from "./model-database.ts"

const index = fc.nat({ max: 20 })
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("send" as const), rows: fc.integer({ min: 1, max: 3 }) }),
  },
  // A producer whose answer was lost sends the same delivery again.
  fc.record({ kind: fc.constant("send again" as const), index }),
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("deliver" as const), most: fc.integer({ min: 1, max: 5 }) }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("end" as const),
      index,
      fate: fc.constantFrom(...STATEMENT_FATES),
    }),
  },
  fc.record({ kind: fc.constant("stop" as const), index }),
  fc.record({ kind: fc.constant("advance" as const), ms: fc.integer({ min: 0, max: 3000 }) }),
)

const BINDINGS = {
  DATABASE_URL: "postgres://service:secret@database.example/signals",
  DATABASE_HTTP_ENDPOINT: "http://database.example/sql",
  OPEN_ACCESS: "true",
  DATABASE_DEADLINE_MS: "2000",
} as unknown as Bindings
const CONSUMERS = 2

interface Sent {
  body: string
  transactionId: string
  rows: number
  attempts: number
}

/** A queue that delivers at least once: what a consumer has not acknowledged when it ends comes again. */
class Queue {
  readonly waiting: Sent[] = []
  readonly deliveries: Sent[] = []
  readonly runs: { messages: Sent[] }[] = []
  /** Messages that were acknowledged, and were not stored then. */
  readonly lost: Sent[] = []
  readonly #database: ModelDatabase

  constructor(database: ModelDatabase) {
    this.#database = database
  }

  send(rows: number): void {
    const batch = batchOf(Array.from({ length: rows }, () => ({ context_window_id: "c" })))
    const delivery = {
      batch: { ...batch, allOrNothing: false as const, idempotency: undefined },
      deadLetters: [],
    }
    const { transactionId } = batch
    const body = messageText({ version: 1, kind: "delivery", delivery })
    const sent = { body, transactionId, rows, attempts: 1 }
    this.waiting.push(sent)
    this.deliveries.push(sent)
  }

  /** Hands messages to a consumer, if one is free. */
  deliver(most: number): void {
    if (this.runs.length >= CONSUMERS || this.waiting.length === 0) return
    const run = { messages: this.waiting.splice(0, most) }
    this.runs.push(run)
    const acknowledged = new Set<Sent>()
    const messages = run.messages.map((sent) => ({
      id: sent.transactionId,
      timestamp: new Date(),
      body: sent.body,
      attempts: sent.attempts,
      ack: () => void acknowledged.add(sent),
      retry: () => {},
    }))
    const batch = { queue: "signal-ingest", messages } as unknown as MessageBatch<unknown>
    void consume(batch, BINDINGS).then(() => {
      // A consumer that was stopped tells the queue nothing.
      if (!this.runs.includes(run)) return
      this.lost.push(
        ...[...acknowledged].filter(({ transactionId }) => !this.#database.stored.has(transactionId)),
      )
      this.#end(run, (sent) => acknowledged.has(sent))
    })
  }

  /** Ends a consumer without a word. Its statements go on. */
  stop(run: { messages: Sent[] } | undefined): void {
    if (run) this.#end(run, () => false)
  }

  #end(run: { messages: Sent[] }, isDone: (sent: Sent) => boolean): void {
    this.runs.splice(this.runs.indexOf(run), 1)
    for (const sent of run.messages)
      if (!isDone(sent)) this.waiting.push({ ...sent, attempts: sent.attempts + 1 })
  }
}

const realFetch = globalThis.fetch
beforeAll(() => {
  // A line for each run of the consumer.
  vi.spyOn(console, "log").mockImplementation(() => {})
})
afterAll(() => {
  vi.restoreAllMocks()
  globalThis.fetch = realFetch
})

describe("two consumers of the queue", () => {
  it("store each message once and acknowledge only what is stored, in any interleaving", async () => {
    const property = fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 40 }), (steps) =>
      onClock(async (clock) => {
        const database = new ModelDatabase()
        globalThis.fetch = database.fetch
        const queue = new Queue(database)
        for (const one of steps) {
          if (one.kind === "send") queue.send(one.rows)
          else if (one.kind === "send again") queue.waiting.push(...again(queue.deliveries, one.index))
          else if (one.kind === "deliver") queue.deliver(one.most)
          else if (one.kind === "stop") queue.stop(pick(queue.runs, one.index))
          else if (one.kind === "advance") await clock.advance(one.ms)
          else database.end(pick(database.open, one.index), one.fate)
          await settle(clock)
        }
        await storeAll(clock, queue, database)
        expect(queue.lost).toEqual([])
        for (const { transactionId, rows } of queue.deliveries)
          expect(database.stored.get(transactionId)).toBe(rows)
      }),
    )
    await fc.assert(property, { numRuns: Math.ceil(SCHEDULES / 2), seed: SEED })
  })
})

const again = (deliveries: readonly Sent[], at: number) => {
  const sent = pick(deliveries, at)
  return sent ? [{ ...sent, attempts: 1 }] : []
}

/** Answers are read in several turns of the loop. */
async function settle(clock: Clock): Promise<void> {
  for (let turn = 0; turn < 6; turn++) await clock.settle()
}

/** From now on every statement is stored and answered, until the queue is empty. */
async function storeAll(clock: Clock, queue: Queue, database: ModelDatabase): Promise<void> {
  const fate: Fate = "stored"
  for (let round = 0; queue.waiting.length > 0 || queue.runs.length > 0; round++) {
    expect(round).toBeLessThan(500)
    queue.deliver(5)
    await settle(clock)
    for (const statement of [...database.open]) database.end(statement, fate)
    await settle(clock)
    await clock.advance(500)
  }
}
