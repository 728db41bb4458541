import { createHmac } from "node:crypto"

/**
 * The largest difference between a request's time and ours, either way. It limits how long a recorded request
 * can be sent again.
 */
const WINDOW_SECONDS = 300

export interface SlackHeaders {
  /** The headers X-Slack-Request-Timestamp and X-Slack-Signature. */
  timestamp: string | undefined
  signature: string | undefined
  /** Any of them may have signed the request. There are two during a rotation. */
  secrets: readonly string[]
  /** Since the epoch. */
  nowSeconds: number
}

/**
 * Checks the headers alone, before the body is read. Returns the error as one sentence; undefined when the
 * body decides.
 */
export function slackHeaderError({
  timestamp,
  signature,
  secrets,
  nowSeconds,
}: SlackHeaders): string | undefined {
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
 * Verifies that a request comes from Slack. Returns the error as one sentence; undefined when a secret signed
 * the request. The body is hashed once for each secret.
 *
 * @param body as it was sent
 * @see https://docs.slack.dev/authentication/verifying-requests-from-slack/
 */
export function slackSignatureError(headers: SlackHeaders, body: Uint8Array): string | undefined {
  const error = slackHeaderError(headers)
  if (error) return error
  const { timestamp, signature = "", secrets } = headers
  const sent = Uint8Array.fromHex(signature.slice("v0=".length))
  let isProved = false
  for (const secret of secrets) {
    const expected = createHmac("sha256", secret).update(`v0:${timestamp}:`).update(body).digest()
    if (crypto.subtle.timingSafeEqual(expected, sent)) isProved = true
  }
  return isProved ? undefined : "X-Slack-Signature is not that of this body under the signing secret."
}
