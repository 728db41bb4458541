/** How far a request's time may be from ours, either way; the specification's own libraries take five minutes. */
const WINDOW_SECONDS = 300

export interface SignedWebhook {
  /** The headers webhook-id, webhook-timestamp and webhook-signature. */
  id: string | undefined
  timestamp: string | undefined
  signature: string | undefined
  /** As it was sent. */
  body: Uint8Array
  /** `whsec_` and base64. Any of them may have signed it: two, while one is being rotated out. */
  secrets: readonly string[]
  /** Since the epoch. */
  nowSeconds: number
}

/**
 * Why a request is not proved by Standard Webhooks, as one sentence; undefined when it is. Not by the specification's own library: that
 * one parses the body as a single JSON value, which a batch of lines is not.
 *
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export async function standardWebhookFault(request: SignedWebhook): Promise<string | undefined> {
  const { id, timestamp, signature, body, secrets, nowSeconds } = request
  if (secrets.length === 0) return "WEBHOOK_SECRET is not set, so no signature is taken."
  if (!id || timestamp === undefined || !signature)
    return "webhook-id, webhook-timestamp and webhook-signature are required together."
  if (!/^\d{1,12}$/.test(timestamp)) return "webhook-timestamp must be seconds since the epoch."
  if (Math.abs(nowSeconds - Number(timestamp)) > WINDOW_SECONDS)
    return `webhook-timestamp is more than ${WINDOW_SECONDS} seconds from now.`
  const given = signature.split(" ").flatMap((one) => (one.startsWith("v1,") ? (fromBase64(one.slice(3)) ?? []) : []))
  if (given.length === 0) return "webhook-signature must hold v1, and a signature in base64."
  const prefix = new TextEncoder().encode(`${id}.${timestamp}.`)
  const signed = new Uint8Array(prefix.length + body.length)
  signed.set(prefix)
  signed.set(body, prefix.length)
  const proofs = await Promise.all(secrets.flatMap((secret) => given.map((one) => verify(secret, one, signed))))
  return proofs.includes(true) ? undefined : "webhook-signature is not that of this body under the secret."
}

/** WebCrypto compares in constant time. */
async function verify(secret: string, signature: Uint8Array, signed: Uint8Array): Promise<boolean> {
  const bytes = fromBase64(secret.replace(/^whsec_/, ""))
  if (!bytes || bytes.length === 0) return false
  const key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"])
  return crypto.subtle.verify("HMAC", key, signature, signed)
}

function fromBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(text)
  } catch {
    return undefined
  }
}
