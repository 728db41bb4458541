import type { FeedSignal } from "../signals/responses.ts"

/** The signals of a message that are shown one by one; a message may have 50 blocks. */
const SHOWN = 10

/** Characters that are shown of a text, and of a name. Slack takes 3,000 in a block, escapes included. */
const TEXT_CHARACTERS = 500
const NAME_CHARACTERS = 80

/** The blocks of Block Kit that a message has; a test compares them with Slack's own types. */
type Block =
  | { type: "section"; text: { type: "mrkdwn"; text: string } }
  | { type: "section"; text: { type: "plain_text"; text: string; emoji: false } }
  | { type: "context"; elements: [{ type: "mrkdwn"; text: string }] }

/** The body of a call to an incoming webhook of Slack. */
export interface SlackMessage {
  /** What a notification shows. */
  text: string
  blocks: Block[]
  unfurl_links: false
  unfurl_media: false
}

/**
 * One message for all the signals of a call, so that a burst is no flood of messages. What signals say is
 * shown as it is: it links nothing, mentions nobody, and has no format.
 *
 * @see https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
 * @see https://docs.slack.dev/messaging/formatting-message-text#escaping
 */
export function slackMessage(signals: readonly FeedSignal[]): SlackMessage {
  const text = headline(signals)
  const rest = signals.length - SHOWN
  return message(text, [
    { type: "section", text: { type: "mrkdwn", text: `*${text}*` } },
    ...signals.slice(0, SHOWN).flatMap(blocksOf),
    ...(rest > 0 ? [context(`and ${rest} more`)] : []),
  ])
}

/** The message of a test call. */
export const slackTest = (): SlackMessage =>
  message("A test of signal-ingest: this channel gets its messages.", [])

const message = (text: string, blocks: Block[]): SlackMessage => ({
  ...{ text, blocks: blocks.length > 0 ? blocks : [{ type: "section", text: { type: "mrkdwn", text } }] },
  ...{ unfurl_links: false, unfurl_media: false },
})

const count = (number: number, noun: string) => `${number} ${noun}${number === 1 ? "" : "s"}`

function headline(signals: readonly FeedSignal[]): string {
  const conversations = new Set(signals.map(({ context_window_id }) => context_window_id))
  const [only = ""] = conversations
  const escalated = signals.filter(({ escalate_flag }) => escalate_flag === 1).length
  const where = conversations.size === 1 ? escaped(only) : count(conversations.size, "conversation")
  return `${count(signals.length, "signal")}${escalated > 0 ? `, ${escalated} escalated,` : ""} in ${where}`
}

function blocksOf(signal: FeedSignal): Block[] {
  const { context_window_id, signal_source, signal_score, escalate_flag, raw_content, time, change } = signal
  const facts = [
    escaped(context_window_id),
    escaped(signal_source),
    `score ${signal_score}`,
    ...(escalate_flag === 1 ? ["escalated"] : []),
    ...(change === "score" ? ["scored again"] : []),
    `${time.slice(0, 19).replace("T", " ")} UTC`,
  ]
  const shown = cut(raw_content ?? "", TEXT_CHARACTERS).trim()
  return [
    context(facts.join(" · ")),
    // Slack refuses an empty text.
    ...(shown === ""
      ? []
      : [
          {
            type: "section" as const,
            text: { type: "plain_text" as const, text: shown, emoji: false as const },
          },
        ]),
  ]
}

const context = (text: string): Block => ({ type: "context", elements: [{ type: "mrkdwn", text }] })

/** A name in marked-up text: without format, and on one line. */
const escaped = (name: string): string =>
  cut(name.replace(/[\p{C}\p{Z}]+/gu, " "), NAME_CHARACTERS)
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    // Between a character of format and a word, so that it formats nothing.
    .replace(/[*_~`]/g, "\u200b$&\u200b")

/** The first characters of a text, never half of one. */
function cut(text: string, characters: number): string {
  const all = [...text.slice(0, characters * 2)]
  return all.length <= characters && text.length <= characters * 2
    ? text
    : `${all.slice(0, characters - 1).join("")}…`.toWellFormed()
}
