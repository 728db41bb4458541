import { describe, expect, it } from "vitest"
import { planDelivery } from "../../../../src/bridges/plan-delivery.ts"
import { mapSlackEvent, readSlackRequest } from "../../../../src/bridges/slack/events.ts"
import { parseJson } from "../../../../src/signals/json.ts"

/**
 * A message as https://docs.slack.dev/reference/events/message/ shows it, around it the least of an envelope.
 */
const message = (fields: object = {}, around: object = {}) => ({
  type: "event_callback",
  team_id: "T123ABC456",
  event: {
    type: "message",
    channel: "C123ABC456",
    user: "U123ABC456",
    text: "Hello",
    ts: "1355517523.000005",
    ...fields,
  },
  ...around,
})

const signalOf = (envelope: object) => {
  const delivered = mapSlackEvent(envelope)
  if (!("signal" in delivered)) throw new Error(`not a signal: ${JSON.stringify(delivered)}`)
  return delivered.signal
}

const judged = (envelope: object) =>
  planDelivery([mapSlackEvent(envelope)], "2026-01-01T00:00:00.000000Z").plan

describe("a message's workspace", () => {
  it("is that of the delivery, whatever the workspace of its author", () =>
    expect(signalOf(message({ team: "T999" }))).toMatchObject({
      context_window_id: "T123ABC456/C123ABC456",
      payload: { team: "T999" },
    }))

  it("is that of its author when nothing else names one, as in a history", () =>
    expect(signalOf(message({ team: "T999" }, { team_id: undefined })).context_window_id).toBe(
      "T999/C123ABC456",
    ))

  it("includes the organization of a workspace that belongs to one", () =>
    expect(signalOf(message({}, { enterprise_id: "E1" })).payload).toMatchObject({
      envelope: { enterprise_id: "E1", team_id: "T123ABC456" },
    }))
})

describe("a message's agent", () => {
  it.each([
    [{ bot_id: "B1", app_id: "A1" }, "B1"],
    [{ app_id: "A1" }, "A1"],
    [{}, undefined],
  ])("is its bot, or else its app: %j", (fields, agent) =>
    expect(signalOf(message(fields)).agent_id).toBe(agent),
  )
})

describe("a message's text", () => {
  it.each([
    [undefined, null],
    [null, null],
    ["", ""],
    ["  two\nlines ", "  two\nlines "],
  ])("is stored as it was sent: %j", (text, rawContent) =>
    expect(judged(message({ text }))).toMatchObject({ failures: [], rows: [{ rawContent }] }),
  )

  it.each([
    ["\0", "raw_content must not contain U+0000"],
    ["\ud800", "raw_content must not contain a lone surrogate"],
    [7, expect.stringMatching(/^raw_content: /)],
  ])("is checked like that of every signal: %j", (text, error) =>
    expect(judged(message({ text }))).toMatchObject({ rows: [], failures: [{ index: 0, error }] }),
  )
})

describe("a message's kind", () => {
  it("is plain when its subtype is null", () =>
    expect(signalOf(message({ subtype: null })).raw_content).toBe("Hello"))

  /** Slack's own note: https://docs.slack.dev/reference/events/message/message_replied/ */
  it("is hidden when Slack leaves out the subtype of message_replied", () => {
    const replied = {
      text: undefined,
      hidden: true,
      message: { type: "message", reply_count: 1, ts: "1355517500.000001" },
    }
    expect(mapSlackEvent(message(replied))).toEqual({ skipped: "hidden_message" })
  })
})

describe("an event that is odd", () => {
  it.each([
    "999999999999",
    "1e5",
    "-1.000000",
    "1355517523.0000051",
    "1355517523.",
    " 1355517523.000005",
    "",
    null,
  ])("is refused for its ts, never thrown: %j", (ts) =>
    expect(mapSlackEvent(message({ ts }))).toMatchObject({
      refused: expect.stringMatching(/^event\.ts should be/),
    }),
  )

  it.each(["[]", "null", "7", '"message"', "12345678901234567890"])(
    "is refused when it is not an object: %s",
    (event) => {
      const body = parseJson(`{"type":"event_callback","team_id":"T1","event":${event}}`)
      expect(readSlackRequest(body)).toEqual({
        type: "event_callback",
        delivered: { refused: "event should be an object" },
      })
    },
  )

  it("keeps every digit of its numbers", () => {
    const text = JSON.stringify(message({ big: 0 }, { event_time: 0 })).replaceAll(
      ":0",
      ":12345678901234567890.10",
    )
    const { payload } = signalOf(parseJson(text) as object)
    expect(JSON.stringify(payload)).toContain('"big":12345678901234567890.10')
    expect(JSON.stringify(payload)).toContain('"event_time":12345678901234567890.10')
  })
})

describe("a request that is odd", () => {
  it.each(["[]", "null", "12345678901234567890"])("gets the error that it should be an object: %s", (body) =>
    expect(readSlackRequest(parseJson(body))).toEqual({
      type: "unreadable",
      error: "Input should be an object",
    }),
  )
})
