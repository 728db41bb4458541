import type { NewBatch } from "../store/batch.ts"
import type { Delivery } from "../store/write-deliveries.ts"

/**
 * What travels in the queue, as JSON text. What is too large for a message waits in the bucket as a claim check, which the message names.
 * `traceparent` is that of the request that caused it; a version that does not know the field leaves it out.
 * Messages outlive the deployment that sent them: a change of these types needs a version of its own.
 */
export type Message =
  | { version: 1 | 2; kind: "delivery"; delivery: Delivery; traceparent?: string | undefined }
  | { version: 1; kind: "claim_check"; object: string; traceparent?: string | undefined }

/** Version 2: a row can have a `change`, which an earlier deployment would ignore. It makes a dead letter of what it can't read. */
export const versionOf = (batches: readonly Pick<NewBatch, "plan">[]): 1 | 2 =>
  batches.some(({ plan }) => plan.rows.some(({ change }) => change)) ? 2 : 1

/** A message may hold 128,000 bytes, of which some are the queue's own: https://developers.cloudflare.com/queues/platform/limits/ */
export const MAX_MESSAGE_BYTES = 127_000

export const messageText = (message: Message) => JSON.stringify(message)

/** The message in a body, or undefined when this version of the service can't read it. */
export function readMessage(body: unknown): Message | undefined {
  if (typeof body !== "string") return undefined
  const message = parseObject(body)
  if (!message || !isVersion(message.version)) return undefined
  if (message.kind === "delivery" && isDelivery(message.delivery)) return message as Message
  if (message.kind === "claim_check" && typeof message.object === "string") return message as Message
}

export const isVersion = (version: unknown): boolean => version === 1 || version === 2

/** The object in a JSON text, undefined when there is none. */
export function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null

/** Whether a value has the form of a batch, so that a failure to store it is not a failure to read it. */
export const isBatch = (value: unknown): boolean =>
  isObject(value) && typeof value.transactionId === "string" && isObject(value.plan) && Array.isArray(value.plan.rows)

export const isDelivery = (value: unknown): value is Delivery =>
  isObject(value) && isBatch(value.batch) && Array.isArray(value.letters)
