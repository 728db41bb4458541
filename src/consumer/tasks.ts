import { storeDeliveries } from "../ingest/accept-delivery.ts"
import { cutIntoChunks, type Weighed } from "../ingest/chunks.ts"
import type { Count } from "../ingest/context.ts"
import { type Message as Content, readMessage } from "../queue/messages.ts"
import type { Delivery } from "../store/batches/deliveries.ts"
import type { Database } from "../store/database/connection.ts"
import { storeClaimCheck } from "./claim-check.ts"
import { keepLetters } from "./letters.ts"

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
  rows: delivery?.batch.plan.rows.length ?? 1,
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
  alone.sort((one, other) => one.attempts - other.attempts)
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
  return letterTask([message])
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
  const letters = messages.filter((message) => !isSafe(message)).map((message) => weigh(message, message))
  return [safe, ...cutIntoChunks(letters).map(letterTask)]
}

function letterTask(chunk: readonly Message<unknown>[]): Task {
  const half = chunk.length >> 1
  return {
    messages: chunk,
    run: (db) => keepLetters(db, chunk),
    halves:
      chunk.length > 1 ? () => [letterTask(chunk.slice(0, half)), letterTask(chunk.slice(half))] : undefined,
  }
}
