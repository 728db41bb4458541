import { isFields } from "../../signals/json.ts"
import type { Delivered } from "../delivery.ts"

/** What Slack's Events API sends: https://docs.slack.dev/apis/events-api/ */
export type SlackRequest =
  | { type: "url_verification"; challenge: string }
  | { type: "app_rate_limited"; teamId: string }
  | { type: "event_callback"; delivered: Delivered }
  /** Signed by Slack, and still nothing of its Events API: one sentence. */
  | { type: "unreadable"; fault: string }

/**
 * Tells what a request of Slack's is, and makes of an event what is to be stored of it.
 *
 * @param body as `parseJson` reads it, so that no digit of a number is lost
 */
export function readSlackRequest(body: unknown): SlackRequest {
  if (!isFields(body)) return { type: "unreadable", fault: "Input should be an object" }
  switch (body.type) {
    case "url_verification":
      if (typeof body.challenge === "string") return { type: "url_verification", challenge: body.challenge }
      return { type: "unreadable", fault: "url_verification has no challenge" }
    case "app_rate_limited":
      return { type: "app_rate_limited", teamId: kindName(body.team_id) }
    case "event_callback":
      return { type: "event_callback", delivered: mapSlackEvent(body) }
    default:
      return { type: "unreadable", fault: "type should be url_verification, event_callback or app_rate_limited" }
  }
}

/** The subtypes of a message that somebody or something said; a plain one has none. https://docs.slack.dev/reference/events/message/ */
const SAID = new Set([undefined, "thread_broadcast", "bot_message", "me_message", "file_share"])

/** In columns of their own, so not once more in the payload. */
const MAPPED = new Set(["type", "text", "user", "ts"])

/** What of the envelope is worth keeping. Not its `token`, which is a secret. */
const OF_ENVELOPE = ["event_id", "event_time", "team_id", "enterprise_id", "api_app_id", "is_ext_shared_channel"]

/**
 * A message as a signal; any other event is skipped by the name of its type, or of its subtype when it is about a message.
 *
 * Team, channel and `ts` name a message for ever, whichever event brought it, so they are its dedupe_key: a delivery repeated by Slack,
 * one more subscription to the channel, and an import of the same history all store it once.
 */
export function mapSlackEvent(envelope: unknown): Delivered {
  const { event, ...around } = isFields(envelope) ? envelope : {}
  if (!isFields(event)) return { refused: "event should be an object" }
  if (event.type !== "message") return { skipped: kindName(event.type) }
  const subtype = event.subtype ?? undefined
  if (!SAID.has(subtype as string | undefined)) return { skipped: kindName(subtype) }
  if (event.hidden === true) return { skipped: "hidden_message" }

  const { channel, ts, text, user } = event
  const team = around.team_id ?? event.team
  if (!isName(team)) return { refused: "team_id should be the id of a team" }
  if (!isName(channel)) return { refused: "event.channel should be the id of a channel" }
  const timestamp = instantOf(ts)
  if (timestamp === undefined) return { refused: "event.ts should be a message's time, such as 1355517523.000005" }
  const rest = Object.entries(event).filter(([name]) => !MAPPED.has(name))
  const kept = OF_ENVELOPE.filter((name) => around[name] !== undefined).map((name) => [name, around[name]])
  return {
    signal: {
      context_window_id: `${team}/${channel}`,
      timestamp,
      raw_content: text,
      signal_source: "Slack",
      user_id: user,
      agent_id: event.bot_id ?? event.app_id,
      payload: { ...Object.fromEntries(rest), envelope: Object.fromEntries(kept) },
      dedupe_key: `slack:${team}/${channel}/${ts}`,
    },
  }
}

/** An id of Slack's is a few capital letters and digits; no separator can be in it. */
const isName = (value: unknown): value is string => typeof value === "string" && /^\w{1,40}$/.test(value)

/** A kind goes into metrics and log as it is, so only letters, digits, `_` and `.` of what was sent do. */
const kindName = (kind: unknown) => (typeof kind === "string" && /^[\w.]{1,60}$/.test(kind) ? kind : "unnamed")

/** The time in a message's `ts`, by its digits: as a number it would lose the last of its microseconds. */
function instantOf(ts: unknown): string | undefined {
  const [, seconds, micros = ""] = (typeof ts === "string" && /^(\d{1,11})(?:\.(\d{1,6}))?$/.exec(ts)) || []
  if (seconds === undefined) return undefined
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${micros.padEnd(6, "0")}Z`
}
