import { createHmac } from "node:crypto"

/** A request as Slack sends it. */
export interface SlackRequest {
  headers: Record<string, string>
  body: Buffer
}

export const SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"

/** @see https://docs.slack.dev/authentication/verifying-requests-from-slack/ */
export function signedRequest(body: Buffer, nowSeconds = Math.floor(Date.now() / 1000)): SlackRequest {
  const signature = createHmac("sha256", SIGNING_SECRET)
    .update(`v0:${nowSeconds}:`)
    .update(body)
    .digest("hex")
  const headers = {
    "Content-Type": "application/json",
    "X-Slack-Request-Timestamp": String(nowSeconds),
    "X-Slack-Signature": `v0=${signature}`,
  }
  return { headers, body }
}

/** An event's envelope: https://docs.slack.dev/apis/events-api/#event-type-structure */
export const envelope = (event: { ts?: string; event_ts?: string }, eventId: string) => ({
  token: "verification-token",
  team_id: "T03RZGPFR",
  api_app_id: "A0123456789",
  event,
  type: "event_callback",
  event_id: eventId,
  event_time: Math.floor(Number(event.event_ts ?? event.ts ?? 0)),
  authorizations: [
    {
      enterprise_id: null,
      team_id: "T03RZGPFR",
      user_id: "U0BOT",
      is_bot: true,
      is_enterprise_install: false,
    },
  ],
  is_ext_shared_channel: false,
})
