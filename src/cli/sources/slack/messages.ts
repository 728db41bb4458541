import { mapSlackEvent } from "../../../bridges/slack/events.ts"
import { isFields } from "../../../signals/json.ts"
import { keptLine, keptMessage, type SourceRecord } from "../reading/source.ts"
import type { SlackNames } from "./names.ts"

type Fields = Record<string, unknown>

export interface SlackSourceOptions {
  /** `--team`: the workspace of messages for which neither the history nor the message names one. */
  team: string | undefined
  /** `--follow-edits`: edits and deletions are records, too. */
  followEdits?: boolean | undefined
}

export interface Around extends SlackSourceOptions {
  /** The conversation of messages that do not name one. */
  channel?: unknown
  names?: SlackNames
}

/**
 * Yields the records of one JSON value of a history: a day of an export (a list), slackdump's dump of a
 * conversation with its threads, a chunk of its recordings, the envelope of an event, or a message.
 *
 * @see https://slack.com/help/articles/220556107-How-to-read-Slack-data-exports
 * @see https://github.com/rusq/slackdump/blob/master/internal/chunk/chunk.go
 */
export function* recordsOf(value: unknown, around: Around, place: string): Generator<SourceRecord> {
  if (!isList(value)) return yield recordOf(value, around, place)
  let number = 0
  for (const { message, channel } of messagesOf(value, around.channel))
    yield recordOf(message, { ...around, channel }, `${place}#${++number}`)
  for (const _ of isFields(value) && Array.isArray(value.sm) ? value.sm : [])
    yield { place: `${place}#${++number}`, skipped: "search_result" }
}

/** Whether a value holds messages or facts about them, rather than being a message. */
const isList = (value: unknown): value is Fields | unknown[] =>
  Array.isArray(value) || (isFields(value) && (typeof value.t === "number" || Array.isArray(value.messages)))

function* messagesOf(
  value: Fields | unknown[],
  channel: unknown,
): Generator<{ message: unknown; channel: unknown }> {
  if (Array.isArray(value)) for (const message of value) yield* withReplies(message, channel)
  else if (typeof value.t === "number")
    for (const message of listOf(value.m)) yield { message, channel: value.id ?? channel }
  else
    for (const message of listOf(value.messages))
      yield* withReplies(message, value.channel_id ?? value.id ?? channel)
}

const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])

function* withReplies(message: unknown, channel: unknown): Generator<{ message: unknown; channel: unknown }> {
  if (!isFields(message)) return yield { message, channel }
  const { slackdump_thread_replies: replies, ...own } = message
  yield { message: own, channel }
  // The first reply in a dump can be the message itself.
  for (const reply of listOf(replies))
    if (!isFields(reply) || reply.ts !== own.ts) yield { message: reply, channel }
}

function recordOf(value: unknown, around: Around, place: string): SourceRecord {
  if (!isFields(value))
    return { place, error: "This is not a message", kept: keptLine(JSON.stringify(value) ?? "") }
  if (value.type !== "event_callback") return mapSlackMessage(value, place, around)
  if (isFields(value.event)) return mapSlackMessage({ ...value.event, team_id: value.team_id }, place, around)
  return { place, error: "event should be an object", kept: keptMessage(value) }
}

/**
 * Maps a message as the webhook does, with the same dedupe_key, so that a message that comes both ways is
 * stored once. The workspace is that of the event's envelope, of the history (a guest's message names the
 * guest's own workspace), of the message, or `--team`. The service sees by its payload that a message was
 * edited, and by the subtype tombstone that it was deleted.
 */
export function mapSlackMessage(
  message: Fields,
  place: string,
  { channel, team, followEdits, names }: Around,
): SourceRecord {
  const { team_id, ...own } = message
  const event: Fields = { type: "message", ...own, channel: message.channel ?? channel }
  const workspace = team_id ?? names?.team ?? message.team ?? message.user_team ?? team
  const delivered = mapSlackEvent({ team_id: workspace, event }, { followEdits: followEdits === true })
  if ("skipped" in delivered) return { place, skipped: delivered.skipped }
  if ("refused" in delivered)
    return {
      place,
      error: explain(delivered.refused, message),
      kept: keptMessage({ ...message, channel: event.channel }),
    }
  const { payload, ...signal } = delivered.signal as Fields & { payload: Fields }
  const { envelope: _, ...rest } = payload
  const named = {
    user_name: names?.userName(signal.user_id),
    channel_name: names?.channelName(event.channel),
  }
  return {
    place,
    signal: {
      ...signal,
      payload: {
        ...rest,
        ...Object.fromEntries(Object.entries(named).filter(([, name]) => name !== undefined)),
      },
    },
  }
}

function explain(refused: string, message: Fields): string {
  if ("context_window_id" in message) return "This is a signal, not a Slack message: use import jsonl"
  return refused.startsWith("team_id") ? "The message does not name its workspace: give --team" : refused
}
