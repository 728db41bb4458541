import { shuffled } from "../../setup/random.ts"
import { envelope, signedRequest } from "../../setup/slack.ts"
import type { SlackMessage } from "./model.ts"
import { PATIENCE_MS, type Traffic } from "./traffic.ts"

const ATTEMPTS = 8
const EPOCH = 1_790_000_000

/** A message with edits and perhaps a deletion, delivered in any order and partly twice, as Slack may. */
export async function sendSlack(traffic: Traffic): Promise<void> {
  const { model, random, name } = traffic
  const number = model.tick()
  const ts = `${EPOCH + number}.000100`
  const channel = `C${number % 5}`
  const said = (text: string) => ({ type: "message", channel, user: "U-slack", text, ts })
  const texts = Array.from(
    { length: 1 + Math.floor(random() * 3) },
    (_, version) => `${name}-slack-${number}-${version}`,
  )
  const isDeleted = random() < 0.3
  const events: { event: object; applies: (message: SlackMessage) => void }[] = texts.map(
    (text, version) => ({
      event: version === 0 ? { ...said(text), event_ts: ts } : edit(said(texts[0] ?? ""), text, version),
      applies(message) {
        if (!message.newest || message.newest.at < version) message.newest = { at: version, text }
      },
    }),
  )
  if (isDeleted)
    events.push({
      event: {
        type: "message",
        subtype: "message_deleted",
        hidden: true,
        channel,
        ts: later(ts, 900),
        event_ts: later(ts, 900),
        deleted_ts: ts,
      },
      applies(message) {
        message.isDeleted = true
      },
    })
  const message: SlackMessage = { channel, ts, newest: undefined, isDeleted: false, isOpen: false }
  const doubled = shuffled([...events, ...events.filter(() => random() < 0.3)], random)
  for (const [position, { event, applies }] of doubled.entries()) {
    if (await deliver(traffic, event, `Ev${number}-${events.findIndex((one) => one.event === event)}`))
      applies(message)
    else message.isOpen = true
    if (position > 10) break
  }
  model.slack.push(message)
}

const later = (ts: string, seconds: number) => `${Number(ts.split(".")[0]) + seconds}.000500`

function edit(said: { channel: string; ts: string }, text: string, version: number): object {
  const at = later(said.ts, version)
  const { channel, ...message } = said
  return {
    type: "message",
    subtype: "message_changed",
    hidden: true,
    channel,
    ts: at,
    event_ts: at,
    message: { ...message, text, edited: { user: "U-slack", ts: at } },
    previous_message: message,
  }
}

/** Sends an event until it is acknowledged, as Slack does. */
async function deliver({ address, fetch, model }: Traffic, event: object, eventId: string): Promise<boolean> {
  const body = Buffer.from(JSON.stringify(envelope(event, eventId)))
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const { headers } = signedRequest(body)
    const response = await fetch(`${address}/webhooks/slack`, {
      method: "POST",
      headers,
      body,
      signal: AbortSignal.timeout(PATIENCE_MS),
    }).catch(() => undefined)
    await response?.arrayBuffer().catch(() => {})
    model.count("slack", response?.status ?? "no answer")
    if (response?.status === 200) return true
  }
  return false
}
