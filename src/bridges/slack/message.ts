import type { Delivered } from "../delivery.ts"

type Fields = Record<string, unknown>

/** The subtypes of a message that somebody or something said; a plain one has none. https://docs.slack.dev/reference/events/message/ */
const SAID = new Set([undefined, "thread_broadcast", "bot_message", "me_message", "file_share"])

/** In columns of their own, so not once more in the payload. */
const MAPPED = new Set(["type", "text", "user", "ts"])

/** What of the envelope is worth keeping. Not its `token`, which is a secret. */
const OF_ENVELOPE = ["event_id", "event_time", "team_id", "enterprise_id", "api_app_id", "is_ext_shared_channel"]

/** The name of a message: its workspace, its channel and its `ts`. */
interface MessageName {
  team: string
  channel: string
  ts: string
  /** The time in `ts`, as UTC text. */
  timestamp: string
}

/**
 * A message as a signal; one that nobody said is skipped by the name of its subtype.
 *
 * Team, channel and `ts` name a message for ever, whichever event brought it, so they are its dedupe_key: a delivery repeated by Slack,
 * one more subscription to the channel, and an import of the same history all store it once.
 */
export function mapMessage(message: Fields, around: Fields): Delivered {
  const subtype = message.subtype ?? undefined
  if (!SAID.has(subtype as string | undefined)) return { skipped: kindName(subtype) }
  if (message.hidden === true) return { skipped: "hidden_message" }
  const name = nameOf(message, message.ts, around)
  if (typeof name === "string") return { refused: name }
  const rest = Object.entries(message).filter(([field]) => !MAPPED.has(field))
  const kept = OF_ENVELOPE.filter((field) => around[field] !== undefined).map((field) => [field, around[field]])
  return {
    signal: {
      ...namedSignal(name),
      raw_content: message.text,
      user_id: message.user,
      agent_id: message.bot_id ?? message.app_id,
      payload: { ...Object.fromEntries(rest), envelope: Object.fromEntries(kept) },
    },
  }
}

/**
 * The name of the message with this `ts` that an event is about, or a sentence that names the field that is wrong.
 *
 * @param event has the channel
 * @param around the event's envelope, which has the workspace
 * @param field where `ts` was found
 */
export function nameOf(event: Fields, ts: unknown, around: Fields, field = "event.ts"): MessageName | string {
  const { channel } = event
  const team = around.team_id ?? event.team
  if (!isName(team)) return "team_id should be the id of a team"
  if (!isName(channel)) return "event.channel should be the id of a channel"
  const timestamp = instantOf(ts)
  if (timestamp === undefined) return `${field} should be a message's time, such as 1355517523.000005`
  return { team, channel, ts: ts as string, timestamp }
}

/** What a signal has by the name of its message. */
export const namedSignal = ({ team, channel, ts, timestamp }: MessageName) => ({
  context_window_id: `${team}/${channel}`,
  timestamp,
  signal_source: "Slack",
  dedupe_key: `slack:${team}/${channel}/${ts}`,
})

/** An id of Slack's is a few capital letters and digits; no separator can be in it. */
const isName = (value: unknown): value is string => typeof value === "string" && /^\w{1,40}$/.test(value)

/** A kind goes into metrics and log as it is, so only letters, digits, `_` and `.` of what was sent do. */
export const kindName = (kind: unknown) => (typeof kind === "string" && /^[\w.]{1,60}$/.test(kind) ? kind : "unnamed")

/** The time in a message's `ts`, by its digits: as a number it would lose the last of its microseconds. */
export function instantOf(ts: unknown): string | undefined {
  const [, seconds, micros = ""] = (typeof ts === "string" && /^(\d{1,11})(?:\.(\d{1,6}))?$/.exec(ts)) || []
  if (seconds === undefined) return undefined
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${micros.padEnd(6, "0")}Z`
}
