import { failureAt, Rejected, type Violation } from "../../signals/failures/violation.ts"
import { isFields } from "../../signals/json.ts"
import type { BatchPlan } from "../../signals/plan.ts"
import type { Failure } from "../../signals/responses.ts"
import type { Change, Signal, SignalRow } from "../../signals/schema.ts"
import type { Delivered } from "../delivery.ts"
import { instantOf, kindName, mapMessage, namedSignal, nameOf, subjectsOf } from "./message.ts"

type Fields = Record<string, unknown>

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
export const isChange = ({ subtype }: Fields): boolean =>
  subtype === "message_changed" || subtype === "message_deleted" || subtype === TOMBSTONE

/**
 * Maps an edit to the whole edited message, and a deletion to the name of the deleted message. Slack also
 * sends `message_changed` for its own changes, such as the preview of a link. These have no `edited`, so the
 * time of the event orders all changes.
 */
export function mapChange(event: Fields, around: Fields): Delivered {
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

function mapDeletion(event: Fields, ts: unknown, around: Fields, field: string): Delivered {
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
    failures: [...failures, ...refused].sort((one, other) => one.index - other.index),
  }
}
