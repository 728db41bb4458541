import type { Bindings } from "../bindings.ts"
import { ConfigurationError, readSettings } from "../config.ts"
import { wake } from "../deliver/wake.ts"
import { cutIntoChunks } from "../ingest/chunks.ts"
import { putClaimCheck } from "../queue/claim-checks.ts"
import { readMessage } from "../queue/messages.ts"
import { type Delivery, rowsOf } from "../store/batches/deliveries.ts"
import { newRun, reportRun } from "./report.ts"
import { deadLetterTasks, type FinishedTasks, LIMITS, runTasks, tasksOf } from "./tasks.ts"

/** The name of the queue to which Cloudflare moves a message after `max_retries`; see wrangler.toml. */
const DEAD_LETTER_QUEUE = /dead-letters$/

/**
 * From this attempt, 2.1 hours after the first, the bucket keeps a message while the database is away: a
 * queue limits the age and the attempts of a message.
 */
const KEEP_FROM_ATTEMPT = 13

const HOUR_SECONDS = 60 * 60

/**
 * Seconds until the next delivery of a message. They double with each attempt up to an hour, so that 100
 * attempts take less than the 4 days that a queue keeps a message by default; in the dead-letter queue up to
 * 2 hours, so that both queues together take less than 14 days.
 */
export const retryDelaySeconds = (attempts: number, longestSeconds = HOUR_SECONDS) =>
  Math.min(2 ** attempts, longestSeconds)

/**
 * Stores the messages of the queue, and makes dead letters of those in the dead-letter queue. A message is
 * acknowledged when all of it is in the database, or in the bucket during an outage. Until then it is
 * redelivered, and still stored only once.
 *
 * Never throws: a message that is not acknowledged is retried after its own delay.
 */
export async function consume(
  batch: MessageBatch<unknown>,
  bindings: Bindings,
  limits = LIMITS,
): Promise<void> {
  const isDeadLetters = DEAD_LETTER_QUEUE.test(batch.queue)
  const { BUCKET: bucket } = bindings
  const run = newRun()
  let unstored: FinishedTasks = { open: [...batch.messages], isAway: false }
  try {
    const { database } = readSettings(bindings)
    const tasks = (isDeadLetters ? deadLetterTasks : tasksOf)(batch.messages, bucket)
    unstored = await runTasks(tasks, { database, limits, run })
  } catch (error) {
    run.error = error
    unstored.isAway = error instanceof ConfigurationError
  }
  const { open, isAway } = unstored
  // A message that fails while the database answers must become a dead letter. From the bucket it would come
  // back forever.
  const belongsInBucket = ({ attempts }: Message<unknown>) =>
    isDeadLetters ? isAway || attempts >= KEEP_FROM_ATTEMPT : isAway && attempts >= KEEP_FROM_ATTEMPT
  const kept = await keepMessages(open.filter(belongsInBucket), bucket).catch((error): Message<unknown>[] => {
    run.error = error
    return []
  })
  run.kept = kept.length
  const longestSeconds = (isDeadLetters ? 2 : 1) * HOUR_SECONDS
  for (const message of open) {
    if (kept.includes(message)) message.ack()
    else message.retry({ delaySeconds: retryDelaySeconds(message.attempts, longestSeconds) })
  }
  if (run.added.stored + run.added.scores.stored > 0) await wakeAfter(bindings)
  await reportRun(bindings, batch, run)
}

/** Tells the deliveries of subscriptions that there are new signals. */
async function wakeAfter(bindings: Bindings): Promise<void> {
  const { database, subscriptions } = readSettings(bindings)
  const isConfigured = subscriptions.secrets.length > 0
  let work: Promise<unknown> | undefined
  wake({ database, isConfigured, deliveries: bindings.DELIVERIES }, (woken) => {
    work = woken
  })
  await work
}

/**
 * Keeps messages in the bucket while the database does not answer; the sweep sends them to the queue again.
 * Messages that one statement can store together go into one object.
 *
 * @returns the messages that are safe in the bucket; none without a bucket
 * @throws {Error} the bucket failed before it had any message
 */
async function keepMessages(
  messages: readonly Message<unknown>[],
  bucket: R2Bucket | undefined,
): Promise<Message<unknown>[]> {
  if (!bucket || messages.length === 0) return []
  const kept: Message<unknown>[] = []
  const deliveries: { message: Message<unknown>; delivery: Delivery }[] = []
  try {
    for (const message of messages) {
      const content = readMessage(message.body)
      if (content?.kind === "delivery") deliveries.push({ message, delivery: content.delivery })
      else {
        // A claim check is in the bucket already.
        if (!content) await putClaimCheck(bucket, { kind: "message", id: message.id, body: message.body })
        kept.push(message)
      }
    }
    const weighed = deliveries.map((item) => {
      return { item, bytes: String(item.message.body).length, rows: rowsOf(item.delivery) }
    })
    for (const chunk of cutIntoChunks(weighed)) {
      await putClaimCheck(bucket, { kind: "deliveries", deliveries: chunk.map(({ delivery }) => delivery) })
      kept.push(...chunk.map(({ message }) => message))
    }
  } catch (error) {
    if (kept.length === 0) throw error
  }
  return kept
}
