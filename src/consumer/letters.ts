import { messageText, readMessage } from "../queue/messages.ts"
import type { DeadLetter } from "../store/dead-letters.ts"

/** The dead letter of a message. Its identity is made from the message's id, so that a message that comes twice is kept once. */
export const letterOfMessage = (id: string, body: unknown): Promise<DeadLetter> =>
  letterOf(
    id,
    readMessage(body)
      ? "It could not be stored, however often it was tried. Replay it once the cause is repaired."
      : "No version of the service reads it.",
    body,
  )

/** The dead letter of a claim check that can't be read, one however often it is met. Its record is the message that names it. */
export const letterOfClaimCheck = (object: string, keptAs: string): Promise<DeadLetter> =>
  letterOf(
    keptAs,
    `No version of the service reads the object ${object} of the bucket. It is kept as ${keptAs}.`,
    messageText({ version: 1, kind: "claim_check", object: keptAs }),
  )

async function letterOf(identity: string, reason: string, body: unknown): Promise<DeadLetter> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(identity))
  const transactionId = new Uint8Array(digest, 0, 16).toHex()
  return { transactionId, index: 0, source: "queue", caller: "queue", reason, record: JSON.stringify(body ?? null) }
}
