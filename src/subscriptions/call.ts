import type { FeedSignal } from "../signals/responses.ts"
import type { Format } from "./schema.ts"
import { signatures } from "./secrets.ts"
import { slackMessage, slackTest } from "./slack.ts"

/** A part of the feed: after the first position, up to the last. */
export interface CallRange {
  subscriptionId: string
  format: Format
  first: string
  last: string
}

/** A call to a receiver, before it is signed. */
export interface Call {
  /** `webhook-id`. Never the same for two different bodies. */
  id: string
  body: string
  /** How many signals it has. */
  signals: number
}

/**
 * The call of a range of the feed. Its id is a hash of the range and the body: the same range has the same id
 * in every attempt, until an edit or an erasure changes what the body says.
 */
export async function callOf(range: CallRange, signals: readonly FeedSignal[]): Promise<Call> {
  const body = JSON.stringify(
    range.format === "slack"
      ? slackMessage(signals)
      : { type: "signals", subscription_id: range.subscriptionId, signals },
  )
  const named = [range.subscriptionId, range.first, range.last, body].join("\n")
  return { id: await idOf(named), body, signals: signals.length }
}

/** A call that only shows whether the receiver accepts one. */
export async function testCall(subscriptionId: string, format: Format): Promise<Call> {
  const body = JSON.stringify(
    format === "slack" ? slackTest() : { type: "test", subscription_id: subscriptionId, signals: [] },
  )
  return { id: await idOf(crypto.randomUUID()), body, signals: 0 }
}

const ID_BYTES = 18

async function idOf(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))
  return `msg_${new Uint8Array(digest, 0, ID_BYTES).toBase64({ alphabet: "base64url" })}`
}

/**
 * The headers of a call.
 *
 * @param secrets each of them signs
 * @param nowSeconds since the epoch
 */
export async function headersOf(
  call: Call,
  secrets: readonly string[],
  nowSeconds: number,
): Promise<Record<string, string>> {
  const signed = { id: call.id, timestamp: nowSeconds, body: call.body }
  return {
    "Content-Type": "application/json",
    "User-Agent": "signal-ingest",
    "webhook-id": call.id,
    "webhook-timestamp": String(nowSeconds),
    "webhook-signature": await signatures(secrets, signed),
  }
}
