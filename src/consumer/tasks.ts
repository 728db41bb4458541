import { LoggableError } from "../errors.ts"
import { storeDeliveries } from "../ingest/accept-delivery.ts"
import { cutIntoChunks, type Weighed } from "../ingest/chunks.ts"
import type { Added, Count, IngestContext } from "../ingest/context.ts"
import { storeAcceptedBatch } from "../ingest/store-batch.ts"
import {
  type ClaimCheck,
  getClaimCheck,
  UnreadableClaimCheck,
  unreadableObject,
} from "../queue/claim-checks.ts"
import { type Message as Content, readMessage } from "../queue/messages.ts"
import { addCounts, addScores } from "../signals/answer.ts"
import { BatchInDoubt } from "../store/batches/batch.ts"
import { type Delivery, rowsOf } from "../store/batches/deliveries.ts"
import { canWrite, connect, type Database, type DatabaseSettings } from "../store/database/connection.ts"
import { DatabaseError } from "../store/database/errors.ts"
import { insertDeadLetters } from "../store/dead-letters/store.ts"
import { deadLetterOfClaimCheck, keepDeadLetters } from "./dead-letters.ts"
import type { ConsumerRun } from "./report.ts"

/** Cloudflare ends a consumer after 15 minutes. */
export const LIMITS = {
  /** For all tasks. Tasks that have not started by then are redelivered. */
  totalMs: 10 * 60 * 1000,
  /** For one statement. It can be long, because no caller waits for it. */
  statementMs: 60 * 1000,
  /** For the check whether the database answers at all. */
  probeMs: 5000,
}

export interface FinishedTasks {
  /** The messages that are not stored. */
  open: Message<unknown>[]
  /** Whether the database does not answer. */
  isAway: boolean
}

/**
 * Runs tasks one after the other, and acknowledges the messages of each stored task. A task that fails while
 * the database answers is split into halves, which run after all other tasks, until the message that cannot
 * be stored is alone.
 */
export async function runTasks(
  tasks: readonly Task[],
  { database, limits, run }: { database: DatabaseSettings; limits: typeof LIMITS; run: ConsumerRun },
): Promise<FinishedTasks> {
  const finished: FinishedTasks = { open: [], isAway: false }
  const endsAt = Date.now() + limits.totalMs
  const waiting = [...tasks]
  for (let task = waiting.shift(); task; task = waiting.shift()) {
    if (finished.isAway || Date.now() >= endsAt) {
      finished.open.push(...task.messages)
      continue
    }
    const db = connect({ ...database, statementMs: limits.statementMs }, { traffic: "consumer" })
    try {
      await task.run(db, (added) => {
        run.added = sum(run.added, added)
      })
      for (const message of task.messages) message.ack()
    } catch (error) {
      run.error ??= error
      finished.isAway = isOfDatabase(error) && !(await isReachable(database, limits.probeMs))
      if (task.halves && !finished.isAway) waiting.push(...task.halves())
      else finished.open.push(...task.messages)
    } finally {
      countUsage(run, db)
    }
  }
  return finished
}

const sum = (one: Added, other: Added): Added => ({
  stored: one.stored + other.stored,
  duplicates: one.duplicates + other.duplicates,
  failed: one.failed + other.failed,
  sources: addCounts(one.sources, other.sources),
  codes: addCounts(one.codes, other.codes),
  scores: addScores(one.scores, other.scores),
})

const isOfDatabase = (error: unknown) => error instanceof DatabaseError || error instanceof BatchInDoubt

/** Whether the database answers and accepts writes. */
export async function isReachable(database: DatabaseSettings, probeMs = LIMITS.probeMs): Promise<boolean> {
  try {
    return await canWrite(
      connect({ ...database, deadlineMs: Math.min(probeMs, database.deadlineMs) }, { traffic: "consumer" }),
    )
  } catch {
    return false
  }
}

function countUsage(run: ConsumerRun, { usage }: Database): void {
  run.databaseAttempts += usage.attempts
  run.databaseMs += usage.ms
}

/** Messages that are stored together, and acknowledged or redelivered together. */
export interface Task {
  messages: readonly Message<unknown>[]
  /** @param count receives what it stored, also when it throws */
  run(db: Database, count: Count): Promise<void>
  /** The same work in two halves; undefined for a single message. */
  halves?: (() => Task[]) | undefined
}

/** From this attempt a message is stored alone, because the message itself may be the cause. */
const ALONE_FROM_ATTEMPT = 3

/**
 * The share of a message in a statement. Characters are counted as bytes, since the limit need not be exact.
 */
const weigh = <Item>(item: Item, message: Message<unknown>, delivery?: Delivery): Weighed<Item> => ({
  item,
  bytes: typeof message.body === "string" ? message.body.length : 0,
  rows: delivery ? rowsOf(delivery) : 1,
})

interface DeliveryMessage {
  message: Message<unknown>
  delivery: Delivery
}

/**
 * The tasks of a batch of messages: new messages first, so that they do not wait for messages that failed
 * before.
 */
export function tasksOf(messages: readonly Message<unknown>[], bucket: R2Bucket | undefined): Task[] {
  const fresh: Weighed<DeliveryMessage>[] = []
  const alone: { attempts: number; task: Task }[] = []
  for (const message of messages) {
    const content = readMessage(message.body)
    if (content?.kind === "delivery") {
      const one = { message, delivery: content.delivery }
      if (message.attempts < ALONE_FROM_ATTEMPT) fresh.push(weigh(one, message, content.delivery))
      else alone.push({ attempts: message.attempts, task: deliveryTask([one]) })
    } else alone.push({ attempts: message.attempts, task: loneTask(message, content, bucket) })
  }
  alone.sort((a, b) => a.attempts - b.attempts)
  return [...cutIntoChunks(fresh).map(deliveryTask), ...alone.map(({ task }) => task)]
}

function deliveryTask(chunk: readonly DeliveryMessage[]): Task {
  const half = chunk.length >> 1
  return {
    messages: chunk.map(({ message }) => message),
    run: (db, count) =>
      storeDeliveries(
        { db, count },
        chunk.map(({ delivery }) => delivery),
      ),
    halves:
      chunk.length > 1
        ? () => [deliveryTask(chunk.slice(0, half)), deliveryTask(chunk.slice(half))]
        : undefined,
  }
}

type ClaimCheckMessage = Extract<Content, { kind: "claim_check" }>

function loneTask(
  message: Message<unknown>,
  content: ClaimCheckMessage | undefined,
  bucket: R2Bucket | undefined,
): Task {
  if (content)
    return { messages: [message], run: (db, count) => storeClaimCheck({ db, bucket, count }, content.object) }
  return deadLetterTask([message])
}

/**
 * The tasks of the dead-letter queue: they make dead letters in the database, where they can be read and
 * replayed.
 */
export function deadLetterTasks(messages: readonly Message<unknown>[], bucket: R2Bucket | undefined): Task[] {
  const isSafe = (message: Message<unknown>) =>
    bucket !== undefined && readMessage(message.body)?.kind === "claim_check"
  // The message of a claim check can be dropped: the sweep sends it again while its object exists.
  const safe: Task = { messages: messages.filter(isSafe), run: async () => {} }
  const deadLetters = messages.filter((message) => !isSafe(message)).map((message) => weigh(message, message))
  return [safe, ...cutIntoChunks(deadLetters).map(deadLetterTask)]
}

function deadLetterTask(chunk: readonly Message<unknown>[]): Task {
  const half = chunk.length >> 1
  return {
    messages: chunk,
    run: (db) => keepDeadLetters(db, chunk),
    halves:
      chunk.length > 1
        ? () => [deadLetterTask(chunk.slice(0, half)), deadLetterTask(chunk.slice(half))]
        : undefined,
  }
}

type ClaimCheckContext = Pick<IngestContext, "db" | "bucket"> & { count: Count }

/**
 * Stores the content of a claim check, and deletes its object.
 *
 * @throws {BatchInDoubt} the content may be stored; a retry is safe
 * @throws {DatabaseError} nothing was stored; a retry is safe
 * @throws {Error} there is no bucket, or the bucket fails
 */
export async function storeClaimCheck(
  { db, bucket, count }: ClaimCheckContext,
  object: string,
): Promise<void> {
  if (!bucket) throw new LoggableError("a message names an object, but no bucket is bound")
  try {
    const claimCheck = await getClaimCheck(bucket, object)
    // The object was stored and deleted already: this is a second delivery of the message.
    if (!claimCheck) return
    await storeContent({ db, count }, claimCheck)
    await bucket.delete(object)
  } catch (error) {
    if (!(error instanceof UnreadableClaimCheck)) throw error
    await keepUnreadable({ db, bucket }, object)
  }
}

async function storeContent(
  context: Pick<ClaimCheckContext, "db" | "count">,
  claimCheck: ClaimCheck,
): Promise<void> {
  switch (claimCheck.kind) {
    case "batch":
    case "scores":
      return context.count(await storeAcceptedBatch(context, claimCheck.batch))
    case "deliveries":
      return storeDeliveries(context, claimCheck.deliveries)
    case "message":
      return keepDeadLetters(context.db, [claimCheck])
  }
}

/**
 * Moves an object that this version cannot read to where the sweep does not look, and makes a dead letter of
 * it.
 */
async function keepUnreadable(
  { db, bucket }: { db: ClaimCheckContext["db"]; bucket: R2Bucket },
  object: string,
): Promise<void> {
  const keptAs = unreadableObject(object)
  if (keptAs !== object) {
    const found = await bucket.get(object)
    if (found) await bucket.put(keptAs, await found.arrayBuffer())
  }
  await insertDeadLetters(db, [await deadLetterOfClaimCheck(object, keptAs)])
  if (keptAs !== object) await bucket.delete(object)
}
