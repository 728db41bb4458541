import { afterAll, beforeAll, expect, inject, it } from "vitest"
import { planDelivery } from "../../../src/bridges/plan-delivery.ts"
import { messageText } from "../../../src/queue/messages.ts"
import { descendants } from "../../setup/processes.ts"
import { type QueuedBundle, type QueuedMessage, runQueuedBundle } from "../../setup/queued-bundle.ts"
import { seededRandom, shuffled } from "../../setup/random.ts"
import { type Storage, startStorage } from "../../setup/rig.ts"

const EVENTS = 10_000
const SEED = Number(process.env.SEED ?? 20_261_123)
const random = seededRandom(SEED)

let storage: Storage
let service: QueuedBundle

beforeAll(async () => {
  storage = await startStorage()
  service = await runQueuedBundle(inject("bundle"), storage.bindings)
})
afterAll(async () => {
  await service?.stop()
  await storage?.stop()
})

/** One event a message, as a webhook hands it on; every second one has an identity of its own, too. */
function messageOf(number: number): QueuedMessage {
  const transactionId = crypto.randomUUID()
  const signal = {
    context_window_id: `conv-${number % 100}`,
    raw_content: String(number),
    ...(number % 2 === 0 && { dedupe_key: `event-${number}` }),
  }
  const { plan } = planDelivery([{ signal }], "2026-01-02T03:04:05.000000Z")
  const batch = { transactionId, caller: "webhook:kafka", plan, allOrNothing: false } as const
  const body = messageText({ version: 1, kind: "delivery", delivery: { batch, deadLetters: [] } })
  return { id: transactionId, timestamp: new Date(), attempts: 1, body }
}

/** Ends workerd as a crash does, and starts another. */
async function crash(): Promise<void> {
  for (const { pid, command } of await descendants(process.pid))
    if (command.includes("workerd serve")) process.kill(pid, "SIGKILL")
  await service.stop()
  service = await runQueuedBundle(inject("bundle"), storage.bindings)
}

it(`stores ${EVENTS} events once each, delivered one to four times in random order to a consumer that crashes (seed ${SEED})`, async () => {
  const messages = Array.from({ length: EVENTS }, (_, number) => messageOf(number))
  const waiting = shuffled(
    messages.flatMap((message) => Array.from({ length: 1 + Math.floor(random() * 4) }, () => message)),
    random,
  )
  const deliveries = waiting.length
  let handed = 0
  let crashes = 0
  let redelivered = 0

  /** Takes what a queue would hand over at once; what isn't acknowledged comes back, at another position. */
  async function handOver(): Promise<void> {
    const messagesNow = waiting.splice(0, 1 + Math.floor(random() * 100))
    handed += messagesNow.length
    const { acknowledged } = await service
      .consume(messagesNow)
      .catch(() => ({ acknowledged: [] as string[] }))
    const done = new Set(acknowledged)
    const again = messagesNow.filter(({ id }) => !done.has(id))
    redelivered += again.length
    for (const message of again) waiting.splice(Math.floor(random() * waiting.length), 0, message)
  }

  while (waiting.length > 0) {
    // Several consumers at once, as Cloudflare runs them, of which some lose the answer of the database.
    if (random() < 0.2) storage.endpoint.faults.loseAnswers = 2
    if (random() < 0.1)
      storage.endpoint.faults.failures.push({ status: 400, code: "40P01", message: "deadlock detected" })
    const running = Promise.all(Array.from({ length: 4 }, handOver))
    if (crashes < 5 && handed > (deliveries / 6) * (crashes + 1)) {
      crashes++
      await crash()
    }
    await running
  }

  expect(crashes).toBe(5)
  expect(redelivered).toBeGreaterThan(0)
  const [counts] = await storage.query(
    "select count(*)::int4 as rows, count(distinct raw_content)::int4 as events from signals",
  )
  expect(counts).toEqual({ rows: EVENTS, events: EVENTS })
  const [ledger] = await storage.query("select count(*)::int4 as batches from batches")
  expect(ledger).toEqual({ batches: EVENTS })
})
