import type { BatchRecord } from "../signals/responses.ts"
import type { NewBatch } from "../store/batch.ts"
import type { Delivery } from "../store/write-deliveries.ts"

/**
 * What travels in the queue, as JSON text. What is too large for it waits in the bucket, and its name travels instead.
 * Messages outlive the deployment that sent them: a change of these types needs a version of its own.
 */
export type Message =
  | { version: 1; kind: "delivery"; delivery: Delivery }
  | { version: 1; kind: "parked_delivery"; object: string }
  | { version: 1; kind: "parked_batch"; object: string }

const KINDS: ReadonlySet<string> = new Set<Message["kind"]>(["delivery", "parked_delivery", "parked_batch"])

export const messageText = (message: Message) => JSON.stringify(message)

/** The message in a body, or undefined when this version of the service can't read it. */
export function readMessage(body: unknown): Message | undefined {
  if (typeof body !== "string") return undefined
  try {
    const message: unknown = JSON.parse(body)
    if (typeof message !== "object" || message === null) return undefined
    const { version, kind } = message as Partial<Message>
    return version === 1 && KINDS.has(kind ?? "") ? (message as Message) : undefined
  } catch {
    return undefined
  }
}

/** A batch that waits in the bucket: what the ledger will know of it, on a line of its own, and what is to be stored. */
export interface ClaimCheck {
  record: BatchRecord
  batch: NewBatch
}

export const claimCheckText = ({ record, batch }: ClaimCheck) => `${JSON.stringify(record)}\n${JSON.stringify(batch)}`

export const readClaimCheckRecord = (text: string): BatchRecord => JSON.parse(text.slice(0, text.indexOf("\n")))

export const readClaimCheckBatch = (text: string): NewBatch => JSON.parse(text.slice(text.indexOf("\n") + 1))

/** Names in the bucket. */
export const batchObject = (transactionId: string) => `batches/${transactionId}`
export const deliveryObject = (transactionId: string) => `deliveries/${transactionId}`
