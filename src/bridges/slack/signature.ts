/** How far a request's time may be from ours, either way, so that an old one can't be sent again by somebody else. */
const WINDOW_SECONDS = 300

export interface SignedRequest {
  /** The headers X-Slack-Request-Timestamp and X-Slack-Signature. */
  timestamp: string | undefined
  signature: string | undefined
  /** As it was sent. */
  body: Uint8Array
  /** Any of them may have signed it: two, while one is being rotated out. */
  secrets: readonly string[]
  /** Since the epoch. */
  nowSeconds: number
}

/** Why the headers alone prove nothing, as one sentence, so that the body need not be read. */
export function slackHeaderFault({ timestamp, signature, secrets, nowSeconds }: Omit<SignedRequest, "body">): string | undefined {
  if (secrets.length === 0) return "SLACK_SIGNING_SECRET is not set, so every call is refused."
  if (timestamp === undefined || signature === undefined)
    return "X-Slack-Request-Timestamp and X-Slack-Signature are required: only Slack may call this."
  if (!/^\d{1,12}$/.test(timestamp)) return "X-Slack-Request-Timestamp must be seconds since the epoch."
  if (Math.abs(nowSeconds - Number(timestamp)) > WINDOW_SECONDS)
    return `X-Slack-Request-Timestamp is more than ${WINDOW_SECONDS} seconds from now.`
  return SIGNATURE.test(signature) ? undefined : "X-Slack-Signature must be v0= and 64 hexadecimal digits."
}

const SIGNATURE = /^v0=[0-9a-f]{64}$/

/**
 * Why a request is not proved to come from Slack, as one sentence; undefined when it is.
 *
 * @see https://docs.slack.dev/authentication/verifying-requests-from-slack/
 */
export async function slackSignatureFault(request: SignedRequest): Promise<string | undefined> {
  const fault = slackHeaderFault(request)
  if (fault) return fault
  const { timestamp = "", signature = "", body, secrets } = request
  const given = Uint8Array.fromHex(signature.slice("v0=".length))
  const signed = basestring(timestamp, body)
  const proofs = await Promise.all(secrets.map((secret) => verify(secret, given, signed)))
  return proofs.includes(true) ? undefined : "X-Slack-Signature is not that of this body under the signing secret."
}

function basestring(timestamp: string, body: Uint8Array): Uint8Array {
  const prefix = new TextEncoder().encode(`v0:${timestamp}:`)
  const bytes = new Uint8Array(prefix.length + body.length)
  bytes.set(prefix)
  bytes.set(body, prefix.length)
  return bytes
}

/** WebCrypto compares in constant time. */
async function verify(secret: string, signature: Uint8Array, signed: Uint8Array): Promise<boolean> {
  const key = await crypto.subtle.importKey("raw", new TextEncoder().encode(secret), { name: "HMAC", hash: "SHA-256" }, false, [
    "verify",
  ])
  return crypto.subtle.verify("HMAC", key, signature, signed)
}
