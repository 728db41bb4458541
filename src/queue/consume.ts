import { type Bindings, readSettings } from "../config.ts"
import { CONSUMER_ROUTE, type Outcome } from "../metrics/point.ts"
import { recordPoint } from "../metrics/record.ts"
import { connect, type Database } from "../store/connection.ts"
import { type DeadLetter, insertDeadLetters } from "../store/dead-letters.ts"
import { recordFailedBatch } from "../store/fail-batch.ts"
import { DatabaseFault } from "../store/faults.ts"
import { IdempotencyKeyReused } from "../store/retell-batch.ts"
import { BatchInDoubt, BatchRefused, type NewBatch, writeBatch } from "../store/write-batch.ts"
import { type Delivery, writeDeliveries } from "../store/write-deliveries.ts"
import { type Message as Content, readMessage, readParkedBatch } from "./messages.ts"

/** Cloudflare moves a message there after `max_retries`; see wrangler.toml. */
const DEAD_LETTER_QUEUE = /dead-letters$/

const LONGEST_DELAY_SECONDS = 600

/** Seconds until a message is delivered again: doubled each time, so that a wait is never longer than what went before it. */
export const retryDelaySeconds = (attempts: number) => Math.min(2 ** attempts, LONGEST_DELAY_SECONDS)

/**
 * Works off messages of the queue, and what Cloudflare has put aside in the dead-letter queue. A message is acknowledged when all of it
 * is in the database; whatever fault comes in between, it is delivered again later, and stored once all the same.
 */
export async function consume(batch: MessageBatch<unknown>, bindings: Bindings): Promise<void> {
  const startedAt = Date.now()
  const db = connect(readSettings(bindings).database)
  const work = DEAD_LETTER_QUEUE.test(batch.queue) ? keepMessages : workOff
  const written: Written = { stored: 0, failed: 0 }
  const faults: unknown[] = []
  const pieces = work(db, bindings, batch.messages)
  for (let piece = pieces.shift(); piece; piece = pieces.shift()) {
    try {
      // While the database is away the rest would only meet the same.
      if (faults.some(isOfDatabase)) throw faults[0]
      const { stored, failed } = await piece.run()
      written.stored += stored
      written.failed += failed
      for (const message of piece.messages) message.ack()
    } catch (error) {
      faults.push(error)
      if (piece.messages.length > 1 && !isOfDatabase(error))
        pieces.push(...piece.messages.flatMap((message) => work(db, bindings, [message])))
      else for (const message of piece.messages) message.retry({ delaySeconds: retryDelaySeconds(message.attempts) })
    }
  }
  await tell(bindings, batch, db, {
    ...written,
    fault: faults.length > 0 ? faultText(faults[0]) : undefined,
    ms: Date.now() - startedAt,
  })
}

const isOfDatabase = (error: unknown) => error instanceof DatabaseFault || error instanceof BatchInDoubt

/** Messages that are worked off, and so acknowledged or delivered again, together. */
interface Piece {
  messages: Message<unknown>[]
  run(): Promise<Written>
}

/** Signals that this run stored, and those that failed in it: what had failed before it was queued is counted there. */
interface Written {
  stored: number
  failed: number
}

const NOTHING: Written = { stored: 0, failed: 0 }

/** All the deliveries as one piece, and each of the rest as its own. */
function workOff(db: Database, bindings: Bindings, messages: readonly Message<unknown>[]): Piece[] {
  const deliveries: { message: Message<unknown>; delivery: Delivery }[] = []
  const pieces: Piece[] = []
  for (const message of messages) {
    const content = readMessage(message.body)
    if (content?.kind === "delivery") deliveries.push({ message, delivery: content.delivery })
    else pieces.push({ messages: [message], run: () => (content ? workOffParked(bindings, content) : keep(db, message)) })
  }
  if (deliveries.length === 0) return pieces
  const together: Piece = {
    messages: deliveries.map(({ message }) => message),
    run: () =>
      storeDeliveries(
        db,
        deliveries.map(({ delivery }) => delivery),
      ),
  }
  return [together, ...pieces]
}

async function storeDeliveries(db: Database, deliveries: readonly Delivery[]): Promise<Written> {
  const { stored, refused } = await writeDeliveries(db, deliveries)
  return { stored, failed: refused.length }
}

async function workOffParked(bindings: Bindings, content: Exclude<Content, { kind: "delivery" }>): Promise<Written> {
  const { BUCKET: bucket } = bindings
  if (!bucket) throw new Error("a message names an object, and no bucket is bound")
  const parked = await bucket.get(content.object)
  // It goes once it is stored: this message is a repetition.
  if (!parked) return NOTHING
  const text = await parked.text()
  const db = connect(readSettings(bindings).database)
  const written =
    content.kind === "parked_delivery"
      ? await storeDeliveries(db, [JSON.parse(text)])
      : await storeBatch(db, readParkedBatch(text))
  await bucket.delete(content.object)
  return written
}

/** Stores a batch whose caller has its answer already, so that what would have been an answer goes into the ledger. */
async function storeBatch(db: Database, batch: NewBatch): Promise<Written> {
  const { rows, failures: known } = batch.plan
  try {
    const { stored, failures, replayed } = await writeBatch(db, batch)
    if (!replayed) return { stored: stored.length, failed: failures.length - known.length }
    const reason = "The same batch had been stored before under this Idempotency-Key."
    await recordFailedBatch(db, batch, { reason, failures: [] })
  } catch (error) {
    if (error instanceof BatchRefused) {
      await recordFailedBatch(db, batch, {
        reason: "The database refused signals of an all-or-nothing batch.",
        failures: error.failures,
      })
    } else if (error instanceof IdempotencyKeyReused) {
      await recordFailedBatch(db, batch, {
        reason: "This Idempotency-Key had been used before with another request.",
        failures: [],
      })
    } else throw error
  }
  return { stored: 0, failed: rows.length }
}

/** What Cloudflare has put aside is kept in the database, where it can be looked at and replayed. */
const keepMessages = (db: Database, _: Bindings, messages: readonly Message<unknown>[]): Piece[] =>
  messages.map((message) => ({ messages: [message], run: () => keep(db, message) }))

async function keep(db: Database, message: Message<unknown>): Promise<Written> {
  await insertDeadLetters(db, [await letterOf(message)])
  return NOTHING
}

async function letterOf({ id, body }: Message<unknown>): Promise<DeadLetter> {
  // Made from the message's id, so that a message that comes twice is kept once.
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(id))
  const transactionId = new Uint8Array(digest, 0, 16).toHex()
  const reason = readMessage(body)
    ? "It could not be worked off, however often it was tried."
    : "No version of the service reads it."
  return { transactionId, index: 0, source: "queue", caller: "queue", reason, record: JSON.stringify(body ?? null) }
}

/** The kind of a fault, never a value, an SQL text or an address. */
function faultText(error: unknown): string {
  if (error instanceof BatchInDoubt) return error.cause.message
  if (error instanceof DatabaseFault) return error.message
  return error instanceof Error ? `unexpected ${error.name}: ${error.message}` : "unknown"
}

interface Consumed extends Written {
  fault: string | undefined
  ms: number
}

async function tell(
  bindings: Bindings,
  batch: MessageBatch<unknown>,
  db: Database,
  { stored, failed, fault, ms }: Consumed,
): Promise<void> {
  const usage = { database_attempts: db.usage.attempts, database_ms: db.usage.ms }
  const counts = { messages: batch.messages.length, stored, failed }
  console.log(JSON.stringify({ event: "consumed", queue: batch.queue, ...counts, ms, fault, ...usage }))
  const outcome: Outcome = fault ? "unavailable" : failed > 0 ? (stored > 0 ? "partly_stored" : "rejected") : "stored"
  await recordPoint(bindings.METRICS, {
    route: CONSUMER_ROUTE,
    mode: "",
    outcome,
    status: fault ? 503 : 200,
    caller: "",
    source: "",
    total: stored + failed,
    successes: stored,
    failures: failed,
    latencyMs: ms,
    databaseMs: db.usage.ms,
    bytes: 0,
    databaseAttempts: db.usage.attempts,
    kind: "",
    skipped: 0,
  })
}
