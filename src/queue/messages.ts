import type { Delivery } from "../store/batches/deliveries.ts"

/**
 * A message of the queue, sent as JSON text. Content that is too large for a message waits in the bucket as a
 * claim check, which the message names. `traceparent` comes from the request that caused the message; an
 * older version of the service ignores it. Messages can outlive the deployment that sent them, so a change of
 * these types needs a new version number: 2 is a delivery with scores, which a former version would lose.
 */
export type Message =
  | { version: 1 | 2; kind: "delivery"; delivery: Delivery; traceparent?: string | undefined }
  | { version: 1; kind: "claim_check"; object: string; traceparent?: string | undefined }

/**
 * A message has at most 128,000 bytes, some of which the queue needs:
 * https://developers.cloudflare.com/queues/platform/limits/
 */
export const MAX_MESSAGE_BYTES = 127_000

/** The version of the message, or the object, that has these deliveries. */
export const versionOf = (deliveries: readonly Delivery[]): 1 | 2 =>
  deliveries.some(({ scores }) => scores) ? 2 : 1

export const messageText = (message: Message) => JSON.stringify(message)

/** The message in a body; undefined when this version of the service cannot read it. */
export function readMessage(body: unknown): Message | undefined {
  if (typeof body !== "string") return undefined
  const message = parseObject(body)
  if (!message || !isVersion(message.version)) return undefined
  if (message.kind === "delivery" && isDelivery(message.delivery)) return message as Message
  if (message.kind === "claim_check" && typeof message.object === "string") return message as Message
}

export const isVersion = (version: unknown): boolean => version === 1 || version === 2

/** The object in a JSON text; undefined when the text is not a JSON object. */
export function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null

/**
 * Whether a value has the shape of a batch. It is checked on reading, so that a wrong shape is not taken for
 * a database error.
 */
export const isBatch = (value: unknown): boolean =>
  isObject(value) &&
  typeof value.transactionId === "string" &&
  isObject(value.plan) &&
  Array.isArray(value.plan.rows)

export const isDelivery = (value: unknown): value is Delivery =>
  isObject(value) &&
  isBatch(value.batch) &&
  Array.isArray(value.deadLetters) &&
  (value.scores === undefined || isBatch(value.scores))
