import { createHmac } from "node:crypto"

/**
 * The largest difference between a request's time and ours, either way. The specification's own libraries
 * allow five minutes.
 */
const WINDOW_SECONDS = 300

/** Bound of the signatures in one header. A rotation needs two or three, one for each secret. */
export const MAX_SIGNATURES = 10

/** HMAC-SHA256. */
const SIGNATURE_BYTES = 32

export interface WebhookHeaders {
  /** The headers webhook-id, webhook-timestamp and webhook-signature. */
  id: string | undefined
  timestamp: string | undefined
  signature: string | undefined
  /** `whsec_` and base64. Any of them may have signed the request. There are two during a rotation. */
  secrets: readonly string[]
  /** Since the epoch. */
  nowSeconds: number
}

/**
 * Checks the headers alone, before the body is read. Returns the error as one sentence; undefined when the
 * body decides.
 */
export function standardWebhookHeaderError({
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
  if (signatures.length > MAX_SIGNATURES)
    return `webhook-signature must hold at most ${MAX_SIGNATURES} signatures.`
  if (signaturesOf(signature).length === 0)
    return "webhook-signature must hold v1, and a signature of 32 bytes in base64."
}

/**
 * Verifies a request by Standard Webhooks. Returns the error as one sentence; undefined when a secret signed
 * the request. The specification's own library is not used: it parses the body as one JSON value, and a body
 * can have many lines. The body is hashed once for each secret.
 *
 * @param body as it was sent
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export function standardWebhookError(headers: WebhookHeaders, body: Uint8Array): string | undefined {
  const error = standardWebhookHeaderError(headers)
  if (error) return error
  const { id, timestamp, signature = "", secrets } = headers
  const sent = signaturesOf(signature)
  let isProved = false
  for (const secret of secrets) {
    const key = fromBase64(secret.replace(/^whsec_/, ""))
    if (!key || key.length === 0) continue
    const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest()
    // Compares every signature, so that the time does not show which one is right.
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
