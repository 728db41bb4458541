import type { Delivered } from "../delivery.ts"

type Fields = Record<string, unknown>

/**
 * The subtypes of messages that a person or a bot wrote. A plain message has none:
 * https://docs.slack.dev/reference/events/message/
 */
const SAID = new Set([undefined, "thread_broadcast", "bot_message", "me_message", "file_share"])

/** Fields that have columns of their own, so the payload does not repeat them. */
const MAPPED = new Set(["type", "text", "user", "ts"])

/** The fields of the envelope that the payload keeps. `token` is not one of them: it is a secret. */
const OF_ENVELOPE = [
  "event_id",
  "event_time",
  "team_id",
  "enterprise_id",
  "api_app_id",
  "is_ext_shared_channel",
]

/** The name of a message: its workspace, its channel and its `ts`. */
interface MessageName {
  team: string
  channel: string
  ts: string
  /** The time in `ts`, as UTC text. */
  timestamp: string
}

/**
 * Maps a message to a signal. A message that no person or bot wrote is skipped by the name of its subtype.
 *
 * Team, channel and `ts` identify a message permanently, in every event, so they are its dedupe_key. A
 * redelivery by Slack, a second subscription to the channel and an import of the same history store the
 * message once.
 */
export function mapMessage(message: Fields, around: Fields): Delivered {
  const subtype = message.subtype ?? undefined
  if (!SAID.has(subtype as string | undefined)) return { skipped: kindName(subtype) }
  if (message.hidden === true) return { skipped: "hidden_message" }
  const name = nameOf(message, message.ts, around)
  if (typeof name === "string") return { refused: name, about: subjectsOf(message, around) }
  const rest = Object.entries(message).filter(([field]) => !MAPPED.has(field))
  const kept = OF_ENVELOPE.filter((field) => around[field] !== undefined).map((field) => [
    field,
    around[field],
  ])
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
 * The subjects of a message that cannot become a signal. Its dead letter must not be kept when one of them is
 * suppressed.
 */
export function subjectsOf(
  { user, bot_id, app_id, channel, team }: Fields,
  { team_id = team }: Fields,
): Fields {
  const conversation =
    isName(team_id) && isName(channel) ? { context_window_id: `${team_id}/${channel}` } : {}
  return { user_id: user, agent_id: bot_id ?? app_id, ...conversation }
}

/**
 * Returns the name of the message that an event is about, or a sentence that names the wrong field.
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

/** The fields of a signal that follow from the name of its message. */
export const namedSignal = ({ team, channel, ts, timestamp }: MessageName) => ({
  context_window_id: `${team}/${channel}`,
  timestamp,
  signal_source: "Slack",
  dedupe_key: `slack:${team}/${channel}/${ts}`,
})

/** Whether a value is an id of Slack: a few letters and digits, so it has no separator. */
const isName = (value: unknown): value is string => typeof value === "string" && /^\w{1,40}$/.test(value)

/**
 * The name of a kind for metrics and log. The sender chooses it, so any other characters than letters,
 * digits, `_` and `.` give `unnamed`.
 */
export const kindName = (kind: unknown) =>
  typeof kind === "string" && /^[\w.]{1,60}$/.test(kind) ? kind : "unnamed"

/** Reads the time in a message's `ts` digit by digit: as a number it would lose its last microseconds. */
export function instantOf(ts: unknown): string | undefined {
  const [, seconds, micros = ""] = (typeof ts === "string" && /^(\d{1,11})(?:\.(\d{1,6}))?$/.exec(ts)) || []
  if (seconds === undefined) return undefined
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${micros.padEnd(6, "0")}Z`
}
