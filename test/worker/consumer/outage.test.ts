import { afterEach, beforeEach, expect, it } from "vitest"
import { readSettings } from "../../../src/config.ts"
import { runScheduled } from "../../../src/consumer/scheduled.ts"
import { queueBatch } from "../../../src/ingest/queue-batch.ts"
import { newBatch } from "../../../src/ingest/store-batch.ts"
import { enqueueDelivery } from "../../../src/queue/enqueue.ts"
import { connect } from "../../../src/store/database/connection.ts"
import { requestOf } from "../ingest/context.ts"
import { bindings, freshConversation, query } from "../service.ts"
import { DEAD_LETTERS, delivery, type PlayedMessage, play, QUEUE } from "./messages.ts"
import { SimulatedQueue } from "./simulated-queue.ts"

const HOUR = 60 * 60 * 1000
const DAY = 24 * HOUR
const OUTAGE_DAYS = 40
const AWAY = { DATABASE_HTTP_ENDPOINT: "http://127.0.0.1:9/sql", DATABASE_DEADLINE_MS: "1" }
const BURSTS = 20
const DELIVERIES_A_BURST = 10

const realBucket = bindings.BUCKET as R2Bucket

async function empty(): Promise<void> {
  const { objects } = await realBucket.list()
  if (objects.length > 0) await realBucket.delete(objects.map(({ key }) => key))
}
beforeEach(empty)
afterEach(empty)

/** The bucket, whose objects are as old as the clock of the test says. */
function bucketOf(clock: { now: number }, isAway: () => boolean): R2Bucket {
  const uploaded = new Map<string, Date>()
  const reachable = async () => {
    if (isAway()) throw new Error("R2 is away")
  }
  const dated = <T extends R2Object>(object: T): T =>
    Object.defineProperty(object, "uploaded", { value: uploaded.get(object.key) ?? object.uploaded })
  return {
    async put(key: string, text: string, options?: R2PutOptions) {
      await reachable()
      const put = await realBucket.put(key, text, options)
      if (put) uploaded.set(key, new Date(clock.now))
      return put
    },
    async get(key: string, options?: R2GetOptions) {
      await reachable()
      const found = await realBucket.get(key, options)
      return found && dated(found)
    },
    async head(key: string) {
      await reachable()
      return realBucket.head(key)
    },
    async delete(keys: string | string[]) {
      await reachable()
      await realBucket.delete(keys)
    },
    async list(options: R2ListOptions) {
      await reachable()
      const listed = await realBucket.list(options)
      return { ...listed, objects: listed.objects.map(dated) }
    },
  } as unknown as R2Bucket
}

const objectsOf = async (prefix: string) => (await realBucket.list({ prefix })).objects.map(({ key }) => key)

/**
 * An outage on a simulated clock. While the bucket is away, too, what is sent stays in the queue alone.
 *
 * @param options.answersAtTimes the database answers for one scheduled clean-up every other day, and no
 *   longer
 */
async function outage(options: {
  bucketAwayDays: readonly [from: number, to: number]
  answersAtTimes: boolean
}) {
  const start = Date.now()
  const clock = { now: start }
  const [bucketAwayFrom, bucketAwayTo] = options.bucketAwayDays
  const day = () => (clock.now - start) / DAY
  const bucket = bucketOf(clock, () => day() >= bucketAwayFrom && day() < bucketAwayTo)
  const deadLetters = new SimulatedQueue(DEAD_LETTERS, clock)
  const queue = new SimulatedQueue(QUEUE, clock, deadLetters)
  const services = { ...bindings, QUEUE: queue.binding, BUCKET: bucket }
  const away = { ...services, ...AWAY }
  const isOver = () => day() >= OUTAGE_DAYS
  const conversation = freshConversation()
  const sent: string[] = []

  async function sendBurst(): Promise<void> {
    for (let index = 0; index < DELIVERIES_A_BURST; index++) {
      const one = delivery([
        { context_window_id: conversation, dedupe_key: index % 2 ? crypto.randomUUID() : undefined },
      ])
      expect(await enqueueDelivery({ queue: services.QUEUE, bucket }, one)).toBe(true)
      sent.push(one.batch.transactionId)
    }
    const batch = newBatch(requestOf([{ context_window_id: conversation }], { key: crypto.randomUUID() }))
    const db = connect(readSettings(away).database)
    const answer = await queueBatch({ db, queue: services.QUEUE, bucket, now: new Date(clock.now) }, batch)
    // While the bucket is away, the caller is not told that its batch is safe.
    if ("record" in answer) sent.push(batch.transactionId)
    else expect(answer.queueError).toContain("R2 is away")
  }

  let calls = 0
  async function consumer(messages: PlayedMessage[], name: string): Promise<void> {
    // Now and then an isolate ends before the consumer answers for anything.
    if (++calls % 10 === 0) throw new Error("the isolate ended")
    await play(messages, name, isOver() ? services : away)
  }

  let nextBurst = start
  let nextHour = start + 17 * 60 * 1000
  const isDrained = async () => queue.size + deadLetters.size + (await objectsOf("batches/")).length === 0
  while (day() < OUTAGE_DAYS + 3) {
    clock.now = Math.max(clock.now, Math.min(nextBurst, nextHour, queue.nextAt, deadLetters.nextAt))
    if (clock.now >= nextBurst) {
      await sendBurst()
      nextBurst =
        day() < OUTAGE_DAYS - OUTAGE_DAYS / BURSTS ? clock.now + (OUTAGE_DAYS / BURSTS) * DAY : Infinity
    }
    if (clock.now >= nextHour) {
      const answers =
        isOver() || (options.answersAtTimes && Math.round((nextHour - start) / HOUR) % 48 === 12)
      await runScheduled(answers ? services : away, new Date(clock.now))
      nextHour += HOUR
      if (isOver() && day() > OUTAGE_DAYS + 0.5 && (await isDrained())) break
    }
    await queue.deliver(consumer)
    await deadLetters.deliver(consumer)
    expect(queue.deleted.length + deadLetters.deleted.length).toBe(0)
  }
  // All idempotency keys have expired by then.
  await runScheduled(services, new Date(clock.now + 8 * DAY))
  const [stored] = await query<{ signals: number }>(
    "select count(*)::int4 as signals from signals where context_window_id = $1",
    [conversation],
  )
  const ledger = await query<{ state: string; count: number }>(
    "select state, count(*)::int4 as count from batches where transaction_id = any($1::uuid[]) group by state",
    [`{${sent.join(",")}}`],
  )
  const objects = (await realBucket.list()).objects.map(({ key }) => key)
  return { sent, stored: stored?.signals, ledger, queue, deadLetters, objects }
}

/** A burst makes two claim checks at most, and is in the queue itself for some hours. */
const MOST_MESSAGES = 2 * BURSTS + DELIVERIES_A_BURST + 1

it.each([
  [
    "and answered for a moment every other day",
    { bucketAwayDays: [Infinity, Infinity], answersAtTimes: true },
    false,
  ],
  ["and the bucket for 11 days of it", { bucketAwayDays: [5, 16], answersAtTimes: false }, true],
] as const)(
  "stores everything once after the database was away for 40 days %s",
  async (_, options, reachesDeadLetterQueue) => {
    const { sent, stored, ledger, queue, deadLetters, objects } = await outage(options)
    expect(sent.length).toBeGreaterThan(BURSTS * DELIVERIES_A_BURST)
    expect(stored).toBe(sent.length)
    expect(ledger).toEqual([{ state: "stored", count: sent.length }])
    expect([queue.size, deadLetters.size]).toEqual([0, 0])
    expect(objects.filter((key) => !["sweep/positions", "access/keys"].includes(key))).toEqual([])
    expect(queue.peak).toBeLessThanOrEqual(MOST_MESSAGES)
    expect(deadLetters.peak).toBeLessThanOrEqual(MOST_MESSAGES)
    expect(queue.moved > 0).toBe(reachesDeadLetterQueue)
  },
)
