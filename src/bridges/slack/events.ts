import { failureAt, Rejected, type Violation } from "../../signals/failures.ts"
import { isFields } from "../../signals/json.ts"
import { isTooDeep, TOO_DEEP } from "../../signals/payload.ts"
import type { BatchPlan, Delivered } from "../../signals/plan.ts"
import type { Failure } from "../../signals/responses.ts"
import type { Change, Signal, SignalRow } from "../../signals/schema.ts"

type Fields = Record<string, unknown>

/** The result of an event. None is a score. */
export type DeliveredEvent = Exclude<Delivered, { score: unknown }>

/** A request of Slack's Events API: https://docs.slack.dev/apis/events-api/ */
export type SlackRequest =
  | { type: "url_verification"; challenge: string }
  | { type: "app_rate_limited"; teamId: string }
  | { type: "event_callback"; delivered: DeliveredEvent }
  /** Slack signed it, but it is not a request of the Events API; `error` says why in one sentence. */
  | { type: "unreadable"; error: string }

export interface SlackOptions {
  /** Whether to follow edits and deletions. By default they are skipped by name. */
  followEdits?: boolean
}

/**
 * Recognizes a request of Slack, and maps an event to a signal.
 *
 * @param body as `parseJson` reads it, so that no digit of a number is lost
 */
export function readSlackRequest(body: unknown, options: SlackOptions = {}): SlackRequest {
  // Slack sends no such event, and a dead letter could not keep it.
  if (isTooDeep(body)) return { type: "unreadable", error: TOO_DEEP }
  if (!isFields(body)) return { type: "unreadable", error: "Input should be an object" }
  switch (body.type) {
    case "url_verification":
      if (typeof body.challenge === "string") return { type: "url_verification", challenge: body.challenge }
      return { type: "unreadable", error: "url_verification has no challenge" }
    case "app_rate_limited":
      return { type: "app_rate_limited", teamId: kindName(body.team_id) }
    case "event_callback":
      return { type: "event_callback", delivered: mapSlackEvent(body, options) }
    default:
      return {
        type: "unreadable",
        error: "type should be url_verification, event_callback or app_rate_limited",
      }
  }
}

/**
 * Maps a message to a signal. Any other event is skipped by the name of its type, or of its subtype when it
 * is about a message.
 */
export function mapSlackEvent(envelope: unknown, { followEdits = false }: SlackOptions = {}): DeliveredEvent {
  const { event, ...around } = isFields(envelope) ? envelope : {}
  if (!isFields(event)) return { refused: "event should be an object" }
  if (event.type !== "message") return { skipped: kindName(event.type) }
  return followEdits && isChange(event) ? mapChange(event, around) : mapMessage(event, around)
}

/**
 * The subtypes of messages that a person or a bot wrote. A plain message has none:
 * https://docs.slack.dev/reference/events/message/
 */
const MESSAGE_SUBTYPES = new Set([undefined, "thread_broadcast", "bot_message", "me_message", "file_share"])

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
function mapMessage(message: Fields, around: Fields): DeliveredEvent {
  const subtype = message.subtype ?? undefined
  if (!MESSAGE_SUBTYPES.has(subtype as string | undefined)) return { skipped: kindName(subtype) }
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
function subjectsOf({ user, bot_id, app_id, channel, team }: Fields, { team_id = team }: Fields): Fields {
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
function nameOf(event: Fields, ts: unknown, around: Fields, field = "event.ts"): MessageName | string {
  const { channel } = event
  const team = around.team_id ?? event.team
  if (!isName(team)) return "team_id should be the id of a team"
  if (!isName(channel)) return "event.channel should be the id of a channel"
  const timestamp = instantOf(ts)
  if (timestamp === undefined) return `${field} should be a message's time, such as 1355517523.000005`
  return { team, channel, ts: ts as string, timestamp }
}

/**
 * The fields of a signal that follow from the name of its message. Channel and time identify a message: in a
 * channel of Slack Connect each workspace's app sends it under a team of its own.
 */
const namedSignal = ({ team, channel, ts, timestamp }: MessageName) => ({
  context_window_id: `${team}/${channel}`,
  timestamp,
  signal_source: "Slack",
  dedupe_key: `slack:${channel}/${ts}`,
})

/** Whether a value is an id of Slack: a few letters and digits, so it has no separator. */
const isName = (value: unknown): value is string => typeof value === "string" && /^\w{1,40}$/.test(value)

/**
 * The name of a kind for metrics and log. The sender chooses it, so any other characters than letters,
 * digits, `_` and `.` give `unnamed`.
 */
const kindName = (kind: unknown) =>
  typeof kind === "string" && /^[\w.]{1,60}$/.test(kind) ? kind : "unnamed"

/** Reads the time in a message's `ts` digit by digit: as a number it would lose its last microseconds. */
function instantOf(ts: unknown): string | undefined {
  const [, seconds, micros = ""] = (typeof ts === "string" && /^(\d{1,11})(?:\.(\d{1,6}))?$/.exec(ts)) || []
  if (seconds === undefined) return undefined
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${micros.padEnd(6, "0")}Z`
}

/**
 * The subtype of the message that replaces a deleted message with replies:
 * https://docs.slack.dev/reference/events/message/
 */
const TOMBSTONE = "tombstone"

/**
 * Whether an event changes another message, which can arrive before or after it. A history has a tombstone
 * instead of such an event.
 *
 * @see https://docs.slack.dev/reference/events/message/message_changed/
 */
const isChange = ({ subtype }: Fields): boolean =>
  subtype === "message_changed" || subtype === "message_deleted" || subtype === TOMBSTONE

/**
 * Maps an edit to the whole edited message, and a deletion to the name of the deleted message. Slack also
 * sends `message_changed` for its own changes, such as the preview of a link. These have no `edited`, so the
 * time of the event orders all changes.
 */
function mapChange(event: Fields, around: Fields): DeliveredEvent {
  const { subtype, message } = event
  if (subtype === "message_deleted") return mapDeletion(event, event.deleted_ts, around, "event.deleted_ts")
  if (subtype === TOMBSTONE) return mapDeletion(event, event.ts, around, "event.ts")
  if (!isFields(message))
    return { refused: "event.message should be an object", about: subjectsOf(event, around) }
  if (message.subtype === TOMBSTONE) return mapDeletion(event, message.ts, around, "event.message.ts")
  const event_ts = event.event_ts ?? event.ts
  const at = instantOf(event_ts)
  const { channel, channel_type, team } = event
  if (at === undefined) {
    const about = subjectsOf({ team, ...message, channel }, around)
    return { refused: "event.event_ts should be the time of the change, such as 1355517523.000005", about }
  }
  const mapped = mapMessage(withoutAbsent({ team, ...message, channel, channel_type, event_ts }), around)
  if ("skipped" in mapped) return { skipped: kindName(subtype) }
  return "signal" in mapped ? { signal: mapped.signal, change: { kind: "edited", at } } : mapped
}

function mapDeletion(event: Fields, ts: unknown, around: Fields, field: string): DeliveredEvent {
  const name = nameOf(event, ts, around, field)
  if (typeof name === "string") return { refused: name, about: subjectsOf(event, around) }
  return { signal: { ...namedSignal(name), payload: { subtype: TOMBSTONE } }, change: { kind: "deleted" } }
}

const withoutAbsent = (fields: Fields): Fields =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))

/**
 * The change that a copy of a message shows, such as one of an export: `edited` has the time of the last
 * edit, and a tombstone shows a deletion.
 *
 * @param signal with the dedupe_key and the payload that `mapSlackEvent` gives a message
 */
export function shownChange({
  dedupe_key,
  payload,
}: {
  dedupe_key?: unknown
  payload?: unknown
}): Change | undefined {
  if (typeof dedupe_key !== "string" || !dedupe_key.startsWith("slack:") || !isFields(payload))
    return undefined
  if (payload.subtype === TOMBSTONE) return { kind: "deleted" }
  const at = isFields(payload.edited) ? instantOf(payload.edited.ts) : undefined
  return at === undefined ? undefined : { kind: "edited", at }
}

const NOT_FOLLOWED: Violation = {
  field: "payload",
  code: "edits_not_followed",
  message: "payload must not have the subtype tombstone unless the service has SLACK_FOLLOW_EDITS=true",
}

/**
 * Adds to a plan the changes that its copies of messages show. Without `followEdits` an edited copy is stored
 * like any other message.
 */
export function withShownChanges(
  { total, rows, failures }: BatchPlan,
  signals: readonly (Signal | Rejected)[],
  { followEdits }: { followEdits: boolean },
): BatchPlan {
  const left: SignalRow[] = []
  const refused: Failure[] = []
  for (const row of rows) {
    const signal = signals[row.index]
    const change = signal && !(signal instanceof Rejected) ? shownChange(signal) : undefined
    if (change?.kind === "deleted" && !followEdits) refused.push(failureAt(row.index, NOT_FOLLOWED))
    else left.push(change && followEdits ? { ...row, change } : row)
  }
  if (refused.length === 0) return { total, rows: left, failures }
  return {
    total,
    rows: left,
    failures: [...failures, ...refused].sort((a, b) => a.index - b.index),
  }
}
