import { type Bindings, readSettings } from "../config.ts"
import type { Added } from "../ingest/store-batch.ts"
import { CONSUMER_ROUTE, type Outcome } from "../metrics/point.ts"
import { recordPoint } from "../metrics/record.ts"
import { BatchInDoubt } from "../store/batch.ts"
import { connect } from "../store/connection.ts"
import { DatabaseError } from "../store/errors.ts"
import { deadLetterItems, workItems } from "./work.ts"

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
  const { database } = readSettings(bindings)
  const divide = DEAD_LETTER_QUEUE.test(batch.queue) ? deadLetterItems : workItems
  const done = { stored: 0, failed: 0, databaseAttempts: 0, databaseMs: 0 }
  const faults: unknown[] = []
  const items = divide(batch.messages, bindings.BUCKET)
  for (let item = items.shift(); item; item = items.shift()) {
    const db = connect(database)
    try {
      // While the database is away the rest would only meet the same.
      if (faults.some(isOfDatabase)) throw faults[0]
      const { stored, failed } = await item.run(db)
      done.stored += stored
      done.failed += failed
      for (const message of item.messages) message.ack()
    } catch (error) {
      faults.push(error)
      if (item.messages.length > 1 && !isOfDatabase(error))
        items.push(...item.messages.flatMap((message) => divide([message], bindings.BUCKET)))
      else for (const message of item.messages) message.retry({ delaySeconds: retryDelaySeconds(message.attempts) })
    } finally {
      done.databaseAttempts += db.usage.attempts
      done.databaseMs += db.usage.ms
    }
  }
  const fault = faults.length > 0 ? faultText(faults[0]) : undefined
  await tell(bindings, batch, { ...done, fault, ms: Date.now() - startedAt })
}

const isOfDatabase = (error: unknown) => error instanceof DatabaseError || error instanceof BatchInDoubt

/** The kind of a fault, never a value, an SQL text or an address. */
function faultText(error: unknown): string {
  if (error instanceof BatchInDoubt) return error.cause.message
  if (error instanceof DatabaseError) return error.message
  return error instanceof Error ? `unexpected ${error.name}: ${error.message}` : "unknown"
}

interface Consumed extends Added {
  databaseAttempts: number
  databaseMs: number
  fault: string | undefined
  ms: number
}

async function tell(bindings: Bindings, batch: MessageBatch<unknown>, consumed: Consumed): Promise<void> {
  const { stored, failed, databaseAttempts, databaseMs, fault, ms } = consumed
  const counts = { messages: batch.messages.length, stored, failed }
  const usage = { database_attempts: databaseAttempts, database_ms: databaseMs }
  console.log(JSON.stringify({ event: "consumed", queue: batch.queue, ...counts, ms, fault, ...usage }))
  const outcome: Outcome = fault ? "unavailable" : failed > 0 ? (stored > 0 ? "partly_stored" : "rejected") : "stored"
  await recordPoint(bindings.METRICS, {
    route: CONSUMER_ROUTE,
    outcome,
    status: fault ? 503 : 200,
    total: stored + failed,
    successes: stored,
    failures: failed,
    latencyMs: ms,
    databaseMs,
    databaseAttempts,
  })
}
