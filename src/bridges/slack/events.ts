import { isFields } from "../../signals/json.ts"
import type { Delivered } from "../delivery.ts"
import { isTooDeep, TOO_DEEP } from "../depth.ts"
import { isChange, mapChange } from "./changes.ts"
import { kindName, mapMessage } from "./message.ts"

/** A request of Slack's Events API: https://docs.slack.dev/apis/events-api/ */
export type SlackRequest =
  | { type: "url_verification"; challenge: string }
  | { type: "app_rate_limited"; teamId: string }
  | { type: "event_callback"; delivered: Delivered }
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
export function mapSlackEvent(envelope: unknown, { followEdits = false }: SlackOptions = {}): Delivered {
  const { event, ...around } = isFields(envelope) ? envelope : {}
  if (!isFields(event)) return { refused: "event should be an object" }
  if (event.type !== "message") return { skipped: kindName(event.type) }
  return followEdits && isChange(event) ? mapChange(event, around) : mapMessage(event, around)
}
