/**
 * Has a message sent to a channel of Slack for escalated signals. Needs a key with the scope "admin", and the
 * address of an incoming webhook:
 * https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
 *
 *   SLACK_WEBHOOK_URL=https://hooks.slack.com/services/... node examples/escalations-to-slack.ts
 */
import { SignalClient } from "signal-ingest/client"

const NAME = "escalations-to-slack"
const url = process.env.SLACK_WEBHOOK_URL ?? ""

const { subscriptions } = new SignalClient({
  url: process.env.SIGNAL_INGEST_URL ?? "http://localhost:8002",
  key: process.env.SIGNAL_INGEST_KEY,
})

// A second run changes the address.
const known = (await subscriptions.list()).find(({ name }) => name === NAME)
const { id } = known
  ? await subscriptions.change(known.id, { url, state: "active" })
  : await subscriptions.add({ name: NAME, url, format: "slack", filter: { escalate_flag: 1 } })

const { error } = await subscriptions.test(id)
console.log(error === null ? "Slack has taken a test message." : `Slack has not taken it: ${error}`)
