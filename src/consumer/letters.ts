import { messageText, readMessage } from "../queue/messages.ts"
import type { DeadLetter } from "../store/dead-letters.ts"

/** The dead letter of a message. Its identity derives from the message's id, so that a redelivered message has one dead letter. */
export const letterOfMessage = (id: string, body: unknown): Promise<DeadLetter> =>
  letterOf(id, readMessage(body) ? UNPROCESSED : UNREADABLE, body)

const UNPROCESSED = {
  code: "unprocessed_message",
  reason: "It could not be stored in any attempt. Repair the cause, then replay it.",
} as const
const UNREADABLE = { code: "unreadable_message", reason: "No version of the service reads it." } as const

/** The dead letter of an unreadable claim check, one for each object. Its record is the message that names the object. */
export const letterOfClaimCheck = (object: string, keptAs: string): Promise<DeadLetter> =>
  letterOf(
    keptAs,
    {
      code: "unreadable_message",
      reason: `No version of the service reads the object ${object} of the bucket. It is kept as ${keptAs}.`,
    },
    messageText({ version: 1, kind: "claim_check", object: keptAs }),
  )

async function letterOf(identity: string, why: Pick<DeadLetter, "reason" | "code">, body: unknown): Promise<DeadLetter> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(identity))
  const transactionId = new Uint8Array(digest, 0, 16).toHex()
  return { transactionId, index: 0, source: "queue", caller: "queue", ...why, record: JSON.stringify(body ?? null) }
}
