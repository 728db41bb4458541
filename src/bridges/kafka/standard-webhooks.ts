import { createHmac } from "node:crypto"

/** How far a request's time may be from ours, either way; the specification's own libraries take five minutes. */
const WINDOW_SECONDS = 300

/** Signatures in one header: one for each secret that is being rotated needs two or three. */
export const MAX_SIGNATURES = 10

/** HMAC-SHA256. */
const SIGNATURE_BYTES = 32

export interface WebhookHeaders {
  /** The headers webhook-id, webhook-timestamp and webhook-signature. */
  id: string | undefined
  timestamp: string | undefined
  signature: string | undefined
  /** `whsec_` and base64. Any of them may have signed the request: two, while one is being rotated out. */
  secrets: readonly string[]
  /** Since the epoch. */
  nowSeconds: number
}

/** Why the headers alone prove nothing, as one sentence, so that the body need not be read; undefined when the body decides. */
export function standardWebhookHeaderFault({
  id,
  timestamp,
  signature,
  secrets,
  nowSeconds,
}: WebhookHeaders): string | undefined {
  if (secrets.length === 0) return "WEBHOOK_SECRET is not set, so no signature is accepted."
  if (!id || timestamp === undefined || !signature)
    return "webhook-id, webhook-timestamp and webhook-signature are required together."
  if (!/^\d{1,12}$/.test(timestamp)) return "webhook-timestamp must be seconds since the epoch."
  if (Math.abs(nowSeconds - Number(timestamp)) > WINDOW_SECONDS)
    return `webhook-timestamp is more than ${WINDOW_SECONDS} seconds from now.`
  const signatures = signature.split(" ", MAX_SIGNATURES + 1)
  if (signatures.length > MAX_SIGNATURES) return `webhook-signature must hold at most ${MAX_SIGNATURES} signatures.`
  if (signaturesOf(signature).length === 0) return "webhook-signature must hold v1, and a signature of 32 bytes in base64."
}

/**
 * Why a request is not proved by Standard Webhooks, as one sentence; undefined when it is. Not by the specification's own library, which
 * parses the body as a single JSON value: a batch of lines is none. The body is hashed once for each secret.
 *
 * @param body as it was sent
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export function standardWebhookFault(headers: WebhookHeaders, body: Uint8Array): string | undefined {
  const fault = standardWebhookHeaderFault(headers)
  if (fault) return fault
  const { id, timestamp, signature = "", secrets } = headers
  const sent = signaturesOf(signature)
  let isProved = false
  for (const secret of secrets) {
    const key = fromBase64(secret.replace(/^whsec_/, ""))
    if (!key || key.length === 0) continue
    const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest()
    // Every signature is compared, so that the time says nothing of which one is right.
    for (const one of sent) if (crypto.subtle.timingSafeEqual(expected, one)) isProved = true
  }
  return isProved ? undefined : "webhook-signature is not that of this body under the secret."
}

/** The signatures of version 1 that have the right length. */
const signaturesOf = (header: string): Uint8Array[] =>
  header.split(" ", MAX_SIGNATURES).flatMap((one) => {
    const bytes = one.startsWith("v1,") ? fromBase64(one.slice(3)) : undefined
    return bytes?.length === SIGNATURE_BYTES ? [bytes] : []
  })

function fromBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(text)
  } catch {
    return undefined
  }
}
