import type { KnownBlock } from "@slack/types"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { FeedSignal } from "../../../src/signals/responses.ts"
import { type SlackMessage, slackMessage, slackTest } from "../../../src/subscriptions/slack.ts"

const signal = (fields: Partial<FeedSignal> = {}): FeedSignal => ({
  id: 1,
  time: "2025-01-15T09:30:00.000000Z",
  received_at: "2025-01-15T09:30:01.000000Z",
  edited_at: null,
  transaction_id: "0194694c-5e3b-7a3c-9d2e-5f1b8c6a4e70",
  signal_score: 0.95,
  emotional_tone: null,
  escalate_flag: 1,
  context_window_id: "conv-9",
  signal_source: "Slack",
  raw_content: "Help!",
  signal_vector: null,
  agent_id: null,
  user_id: null,
  payload: null,
  relationship_context: null,
  diagnostic_notes: null,
  dedupe_key: null,
  ...fields,
})

/** What Slack refuses: https://docs.slack.dev/reference/block-kit/blocks */
function check({ text, blocks }: SlackMessage): void {
  // The compiler compares them with Slack's own types (`npm run check`).
  const known: KnownBlock[] = blocks
  expect(known.length).toBeLessThanOrEqual(50)
  expect(text.length).toBeLessThanOrEqual(3000)
  for (const block of blocks)
    for (const element of block.type === "context" ? block.elements : [block.text]) {
      expect(element.text.length).toBeGreaterThan(0)
      expect(element.text.length).toBeLessThanOrEqual(3000)
      expect(element.text.isWellFormed()).toBe(true)
      if (element.type === "mrkdwn") expect(element.text).not.toMatch(/[<>]|&(?!amp;|lt;|gt;)/)
    }
}

describe("a message for Slack", () => {
  it("shows a signal with where it comes from", () => {
    expect(slackMessage([signal()])).toEqual({
      text: "1 signal, 1 escalated, in conv-9",
      blocks: [
        { type: "section", text: { type: "mrkdwn", text: "*1 signal, 1 escalated, in conv-9*" } },
        {
          type: "context",
          elements: [
            { type: "mrkdwn", text: "conv-9 · Slack · score 0.95 · escalated · 2025-01-15 09:30:00 UTC" },
          ],
        },
        { type: "section", text: { type: "plain_text", text: "Help!", emoji: false } },
      ],
      unfurl_links: false,
      unfurl_media: false,
    })
  })

  it("groups many signals, and counts those that it does not show", () => {
    const message = slackMessage(
      Array.from({ length: 37 }, (_, index) => signal({ context_window_id: `conv-${index % 3}` })),
    )
    expect(message.text).toBe("37 signals, 37 escalated, in 3 conversations")
    expect(message.blocks.at(-1)).toEqual({
      type: "context",
      elements: [{ type: "mrkdwn", text: "and 27 more" }],
    })
    check(message)
  })

  it("mentions nobody, links nothing and keeps one line for a name", () => {
    const message = slackMessage([
      signal({
        context_window_id: "<!channel> & *bold*\n<@U1>",
        raw_content: "<!here> <https://evil.example|ok>",
      }),
    ])
    check(message)
    const facts = message.blocks[1]
    expect(facts?.type === "context" && facts.elements[0].text).toMatch(
      /^&lt;!channel&gt; &amp; \u200b\*\u200bbold/,
    )
    // Plain text is shown as it is.
    expect(JSON.stringify(message.blocks[2])).toContain("<!here> <https://evil.example|ok>")
  })

  it("says that a score came later, and shows no empty text", () => {
    const message = slackMessage([signal({ change: "score", raw_content: " \n " })])
    expect(message.blocks).toHaveLength(2)
    expect(JSON.stringify(message.blocks[1])).toContain("scored again")
  })

  it("is one that Slack takes, whatever the signals say", () => {
    const text = fc.string({ unit: "binary", maxLength: 2000 })
    const name = fc.string({ unit: "binary", minLength: 1, maxLength: 255 })
    const any = fc.record({
      context_window_id: name,
      signal_source: name,
      raw_content: fc.option(
        fc.oneof(text, fc.constantFrom("&".repeat(5000), "😀".repeat(600), "<".repeat(600))),
      ),
    })
    fc.assert(
      fc.property(fc.array(any, { minLength: 1, maxLength: 100 }), (all) =>
        check(slackMessage(all.map(signal))),
      ),
    )
    check(slackTest())
  })
})
