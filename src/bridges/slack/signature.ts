import { createHmac } from "node:crypto"

/** How far a request's time may be from ours, either way, so that nobody else can send an old request again. */
const WINDOW_SECONDS = 300

export interface SlackHeaders {
  /** The headers X-Slack-Request-Timestamp and X-Slack-Signature. */
  timestamp: string | undefined
  signature: string | undefined
  /** Any of them may have signed the request: two, while one is being rotated out. */
  secrets: readonly string[]
  /** Since the epoch. */
  nowSeconds: number
}

/** Why the headers alone prove nothing, as one sentence, so that the body need not be read; undefined when the body decides. */
export function slackHeaderFault({ timestamp, signature, secrets, nowSeconds }: SlackHeaders): string | undefined {
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
 * Why a request is not proved to come from Slack, as one sentence; undefined when it is. The body is hashed once for each secret.
 *
 * @param body as it was sent
 * @see https://docs.slack.dev/authentication/verifying-requests-from-slack/
 */
export function slackSignatureFault(headers: SlackHeaders, body: Uint8Array): string | undefined {
  const fault = slackHeaderFault(headers)
  if (fault) return fault
  const { timestamp, signature = "", secrets } = headers
  const sent = Uint8Array.fromHex(signature.slice("v0=".length))
  let isProved = false
  for (const secret of secrets) {
    const expected = createHmac("sha256", secret).update(`v0:${timestamp}:`).update(body).digest()
    if (crypto.subtle.timingSafeEqual(expected, sent)) isProved = true
  }
  return isProved ? undefined : "X-Slack-Signature is not that of this body under the signing secret."
}
