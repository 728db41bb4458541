import type { AllMessageEvents, SlackEvent } from "@slack/types"
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { planDelivery } from "../../../../src/bridges/plan-delivery.ts"
import { mapSlackEvent, readSlackRequest } from "../../../../src/bridges/slack/events.ts"

/**
 * The envelope of https://docs.slack.dev/apis/events-api/#event-type-structure, around an event by Slack's
 * own types.
 */
const envelope = (event: SlackEvent | object, more: object = {}) => ({
  token: "verification-token",
  team_id: "T024BE7LD",
  api_app_id: "A02ABCDEF",
  event,
  type: "event_callback",
  event_id: "Ev08MFMKH6",
  event_time: 1_355_517_523,
  authorizations: [{ enterprise_id: null, team_id: "T024BE7LD", user_id: "U0BOT", is_bot: true }],
  is_ext_shared_channel: false,
  ...more,
})

const AT = {
  ts: "1355517523.000005",
  event_ts: "1355517523.000005",
  channel: "C2147483705",
  channel_type: "channel",
} as const

const PLAIN: AllMessageEvents = {
  type: "message",
  subtype: undefined,
  user: "U2147483697",
  text: "Hello world",
  ...AT,
}

const ENVELOPE = {
  event_id: "Ev08MFMKH6",
  event_time: 1_355_517_523,
  team_id: "T024BE7LD",
  api_app_id: "A02ABCDEF",
  is_ext_shared_channel: false,
}

/** What every message here has in common. */
const COMMON = {
  context_window_id: "T024BE7LD/C2147483705",
  timestamp: "2012-12-14T20:38:43.000005Z",
  signal_source: "Slack",
  dedupe_key: "slack:C2147483705/1355517523.000005",
}

const REST = {
  channel: "C2147483705",
  channel_type: "channel",
  event_ts: "1355517523.000005",
  envelope: ENVELOPE,
}

const SAID: Record<string, { event: AllMessageEvents; signal: object }> = {
  "a plain message": {
    event: PLAIN,
    signal: { ...COMMON, raw_content: "Hello world", user_id: "U2147483697", payload: REST },
  },
  "a reply in a thread": {
    event: { ...PLAIN, thread_ts: "1355517500.000001", parent_user_id: "U1" },
    signal: {
      ...COMMON,
      raw_content: "Hello world",
      user_id: "U2147483697",
      payload: { ...REST, thread_ts: "1355517500.000001", parent_user_id: "U1" },
    },
  },
  "a message of a bot": {
    event: {
      type: "message",
      subtype: "bot_message",
      text: "Pushing is the answer",
      bot_id: "BB12033",
      username: "github",
      ...AT,
    },
    signal: {
      ...COMMON,
      raw_content: "Pushing is the answer",
      agent_id: "BB12033",
      payload: { ...REST, subtype: "bot_message", bot_id: "BB12033", username: "github" },
    },
  },
  "a message of an app's user": {
    event: { ...PLAIN, bot_id: "BB12033" },
    signal: {
      ...COMMON,
      raw_content: "Hello world",
      user_id: "U2147483697",
      agent_id: "BB12033",
      payload: { ...REST, bot_id: "BB12033" },
    },
  },
  "a /me message": {
    event: {
      type: "message",
      subtype: "me_message",
      user: "U2147483697",
      text: "is doing that thing",
      ...AT,
    },
    signal: {
      ...COMMON,
      raw_content: "is doing that thing",
      user_id: "U2147483697",
      payload: { ...REST, subtype: "me_message" },
    },
  },
  "a shared file without a word": {
    event: {
      type: "message",
      subtype: "file_share",
      user: "U2147483697",
      text: "",
      x_files: ["F1"],
      upload: true,
      ...AT,
    },
    signal: {
      ...COMMON,
      raw_content: "",
      user_id: "U2147483697",
      payload: { ...REST, subtype: "file_share", x_files: ["F1"], upload: true },
    },
  },
  "a reply that is broadcast to the channel": {
    event: {
      type: "message",
      subtype: "thread_broadcast",
      user: "U2147483697",
      text: "Broadcast this",
      thread_ts: "1355517500.000001",
      client_msg_id: "6b1e0a4c",
      root: {
        ...PLAIN,
        ts: "1355517500.000001",
        thread_ts: "1355517500.000001",
        reply_count: 1,
        reply_users_count: 1,
        latest_reply: "1355517523.000005",
        reply_users: ["U2147483697"],
      },
      ...AT,
    },
    signal: {
      ...COMMON,
      raw_content: "Broadcast this",
      user_id: "U2147483697",
      payload: expect.objectContaining({
        ...REST,
        subtype: "thread_broadcast",
        thread_ts: "1355517500.000001",
      }),
    },
  },
}

describe("a message", () => {
  it.each(Object.entries(SAID))("becomes a signal: %s", (_, { event, signal }) => {
    const delivered = mapSlackEvent(envelope(event))
    expect(delivered).toEqual({ signal })
    const { plan } = planDelivery([delivered], "2026-01-01T00:00:00.000000Z")
    expect(plan).toMatchObject({
      total: 1,
      failures: [],
      rows: [{ time: "2012-12-14T20:38:43.000005Z", signalSource: "Slack" }],
    })
  })

  it("has the same dedupe_key in every event, so that it is stored once", () => {
    const again = envelope(PLAIN, { event_id: "Ev99", event_time: 1_355_517_999, api_app_id: "A99" })
    expect(mapSlackEvent(again)).toMatchObject({ signal: { dedupe_key: COMMON.dedupe_key } })
  })

  it.each([
    ["1355517523.000005", "2012-12-14T20:38:43.000005Z"],
    ["1790000000.999999", "2026-09-21T14:13:20.999999Z"],
    ["1355517523", "2012-12-14T20:38:43.000000Z"],
    ["1355517523.1", "2012-12-14T20:38:43.100000Z"],
  ])("of %s keeps its time to the microsecond", (ts, timestamp) =>
    expect(mapSlackEvent(envelope({ ...PLAIN, ts }))).toMatchObject({ signal: { timestamp } }),
  )

  it("never has the verification token", () => {
    for (const { event } of Object.values(SAID))
      expect(JSON.stringify(mapSlackEvent(envelope(event)))).not.toContain("verification-token")
  })

  it.each([
    ["team_id", { ...envelope(PLAIN), team_id: undefined }],
    ["event.channel", envelope({ ...PLAIN, channel: undefined })],
    ["event.channel", envelope({ ...PLAIN, channel: "C1/C2" })],
    ["event.ts", envelope({ ...PLAIN, ts: 1_355_517_523.5 })],
    ["event.ts", envelope({ ...PLAIN, ts: "yesterday" })],
    ["event ", { ...envelope(PLAIN), event: "message" }],
  ])("that can't be one is refused by naming its field: %s", (field, body) => {
    const delivered = mapSlackEvent(body)
    expect(delivered).toMatchObject({ refused: expect.stringMatching(new RegExp(`^${field}`)) })
  })
})

/** Every subtype that https://docs.slack.dev/reference/events/message/ lists and that nobody said. */
const NOT_SAID = (
  "assistant_app_thread bot_add bot_remove channel_archive channel_canvas_updated channel_convert_to_private channel_join channel_leave " +
  "channel_name channel_posting_permissions channel_purpose channel_topic channel_unarchive document_mention ekm_access_denied file_comment " +
  "file_mention group_archive group_join group_leave group_name group_purpose group_topic group_unarchive huddle_thread message_changed " +
  "message_deleted message_replied pinned_item reminder_add reply_broadcast sh_room_created tombstone unpinned_item"
).split(" ")

describe("an event that is not a message", () => {
  it.each(NOT_SAID)("is skipped by the name of its subtype: %s", (subtype) =>
    expect(mapSlackEvent(envelope({ ...PLAIN, subtype }))).toEqual({ skipped: subtype }),
  )

  it.each([
    "reaction_added",
    "app_mention",
    "channel_created",
    "member_joined_channel",
    "file_shared",
    "team_join",
    "tokens_revoked",
  ])("is skipped by the name of its type: %s", (type) =>
    expect(mapSlackEvent(envelope({ type, event_ts: AT.event_ts }))).toEqual({ skipped: type }),
  )

  it("is skipped when Slack hides it", () =>
    expect(mapSlackEvent(envelope({ ...PLAIN, hidden: true }))).toEqual({ skipped: "hidden_message" }))

  it.each([{}, { type: "a\nb" }, { type: 7 }, { type: "x".repeat(61) }])(
    "has no name that could corrupt a log or a label: %j",
    (event) => expect(mapSlackEvent(envelope(event))).toEqual({ skipped: "unnamed" }),
  )
})

describe("a request of Slack's", () => {
  it("can ask to verify the address", () =>
    expect(
      readSlackRequest({
        token: "t",
        challenge: "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P",
        type: "url_verification",
      }),
    ).toEqual({
      type: "url_verification",
      challenge: "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P",
    }))

  it("can say that Slack holds events back", () =>
    expect(
      readSlackRequest({
        token: "t",
        type: "app_rate_limited",
        team_id: "T123456",
        minute_rate_limited: 1_518_467_820,
        api_app_id: "A123456",
      }),
    ).toEqual({ type: "app_rate_limited", teamId: "T123456" }))

  it.each([null, [], "text", {}, { type: "block_actions" }, { type: "url_verification" }])(
    "is refused with the expected types when it has none of them: %j",
    (body) =>
      expect(readSlackRequest(body)).toMatchObject({
        type: "unreadable",
        error: expect.stringMatching(/\w/),
      }),
  )

  it("is read from any JSON", () =>
    fc.assert(
      fc.property(fc.json(), (text) => {
        const read = readSlackRequest({ type: "event_callback", team_id: "T1", event: JSON.parse(text) })
        expect(read.type).toBe("event_callback")
        expect(readSlackRequest(JSON.parse(text))).toHaveProperty("type")
      }),
    ))
})
