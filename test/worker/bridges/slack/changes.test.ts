import { describe, expect, it } from "vitest"
import { mapSlackEvent, shownChange, withShownChanges } from "../../../../src/bridges/slack/events.ts"
import { planBatch } from "../../../../src/signals/plan.ts"
import { Signal } from "../../../../src/signals/schema.ts"

const NAMED = {
  context_window_id: "T1/C1",
  timestamp: "2012-12-14T20:38:43.000005Z",
  signal_source: "Slack",
  dedupe_key: "slack:C1/1355517523.000005",
}
const DELETED = { signal: { ...NAMED, payload: { subtype: "tombstone" } }, change: { kind: "deleted" } }

const envelope = (event: object) => ({
  team_id: "T1",
  event_id: "Ev1",
  event: { type: "message", channel: "C1", ...event },
})
const map = (event: object) => mapSlackEvent(envelope(event), { followEdits: true })

/** As https://docs.slack.dev/reference/events/message/message_changed/ shows it. */
const CHANGED = {
  subtype: "message_changed",
  hidden: true,
  ts: "1358878755.000001",
  event_ts: "1358878755.000001",
  channel_type: "channel",
  message: {
    type: "message",
    user: "U1",
    text: "Hello, world!",
    ts: "1355517523.000005",
    edited: { user: "U1", ts: "1358878755.000000" },
  },
  previous_message: { type: "message", user: "U1", text: "the text before", ts: "1355517523.000005" },
}

describe("message_changed", () => {
  it("becomes the whole edited message, with the time of the event", () =>
    expect(map(CHANGED)).toEqual({
      signal: {
        ...NAMED,
        raw_content: "Hello, world!",
        user_id: "U1",
        payload: {
          channel: "C1",
          channel_type: "channel",
          event_ts: "1358878755.000001",
          edited: { user: "U1", ts: "1358878755.000000" },
          envelope: { event_id: "Ev1", team_id: "T1" },
        },
      },
      change: { kind: "edited", at: "2013-01-22T18:19:15.000001Z" },
    }))

  it("keeps nothing of the former text", () =>
    expect(JSON.stringify(map(CHANGED))).not.toContain("the text before"))

  it("is followed where Slack added a link preview, which has no `edited`", () => {
    const { edited: _, ...message } = CHANGED.message
    const unfurled = { ...CHANGED, message: { ...message, attachments: [{ title: "Example" }] } }
    expect(map(unfurled)).toMatchObject({
      signal: { payload: { attachments: [{ title: "Example" }] } },
      change: { kind: "edited", at: "2013-01-22T18:19:15.000001Z" },
    })
  })

  it("is followed for a broadcast of a thread and for a bot", () => {
    expect(map({ ...CHANGED, message: { ...CHANGED.message, subtype: "thread_broadcast" } })).toHaveProperty(
      "change",
    )
    expect(
      map({ ...CHANGED, message: { ...CHANGED.message, subtype: "bot_message", bot_id: "B1" } }),
    ).toMatchObject({
      signal: { agent_id: "B1" },
    })
  })

  it("is a deletion when a tombstone replaces a message with replies", () => {
    const tombstone = {
      subtype: "tombstone",
      text: "This message was deleted.",
      hidden: true,
      ts: "1355517523.000005",
    }
    expect(map({ ...CHANGED, message: tombstone })).toEqual(DELETED)
  })

  it.each(["channel_topic", "channel_join"])(
    "is skipped by its name for a message without an author: %s",
    (subtype) =>
      expect(map({ ...CHANGED, message: { ...CHANGED.message, subtype } })).toEqual({
        skipped: "message_changed",
      }),
  )

  it.each([
    ["event.message", { message: "text" }],
    ["event.event_ts", { event_ts: "now", ts: undefined }],
    ["event.ts", { message: { text: "no ts" } }],
  ])("that can't be one is refused by naming its field: %s", (field, more) =>
    expect(map({ ...CHANGED, ...more })).toMatchObject({
      refused: expect.stringMatching(new RegExp(`^${field} `)),
    }),
  )
})

describe("message_deleted", () => {
  const event = {
    subtype: "message_deleted",
    hidden: true,
    ts: "1358878755.000001",
    deleted_ts: "1355517523.000005",
  }

  it("becomes the name of the message", () => expect(map(event)).toEqual(DELETED))

  it("keeps nothing of the text", () =>
    expect(JSON.stringify(map({ ...event, previous_message: { text: "secret" } }))).not.toContain("secret"))

  it("a change that names no message is refused", () =>
    expect(map({ ...event, deleted_ts: undefined })).toEqual({
      refused: expect.stringMatching(/^event\.deleted_ts /),
      about: { context_window_id: "T1/C1" },
    }))
})

describe("without SLACK_FOLLOW_EDITS", () => {
  it.each(["message_changed", "message_deleted"])("%s is skipped by its name", (subtype) =>
    expect(mapSlackEvent(envelope({ ...CHANGED, subtype }))).toEqual({ skipped: subtype }),
  )
})

describe("a copy of a message", () => {
  it("shows when it was last edited, and whether it was deleted", () => {
    const payload = { edited: { user: "U1", ts: "1358878755.000000" } }
    expect(shownChange({ ...NAMED, payload })).toEqual({ kind: "edited", at: "2013-01-22T18:19:15.000000Z" })
    expect(shownChange({ ...NAMED, payload: { subtype: "tombstone" } })).toEqual({ kind: "deleted" })
  })

  it.each([
    ["no edit", { ...NAMED, payload: { thread_ts: "1355517523.000005" } }],
    ["an edit without a time", { ...NAMED, payload: { edited: { ts: "yesterday" } } }],
    ["no payload", NAMED],
    ["a name that is not Slack's", { dedupe_key: "other:1", payload: { subtype: "tombstone" } }],
  ])("shows no change with %s", (_, signal) => expect(shownChange(signal)).toBeUndefined())

  const signals = [
    { ...NAMED, payload: { subtype: "tombstone" } },
    { ...NAMED, payload: { edited: { ts: "1358878755" } } },
    { context_window_id: " " },
    NAMED,
  ].map((signal) => Signal.parse(signal))
  const plan = (followEdits: boolean) =>
    withShownChanges(planBatch(signals, NAMED.timestamp), signals, { followEdits })

  it("changes the stored signal where edits are followed", () =>
    expect(plan(true).rows.map(({ index, change }) => [index, change?.kind])).toEqual([
      [0, "deleted"],
      [1, "edited"],
      [3, undefined],
    ]))

  it("is stored like any message where they are not, and a tombstone fails", () => {
    expect(plan(false).rows.map(({ index, change }) => [index, change])).toEqual([
      [1, undefined],
      [3, undefined],
    ])
    expect(plan(false).failures.map(({ index }) => index)).toEqual([0, 2])
    expect(plan(false).failures[0]).toMatchObject({
      error: "payload must not have the subtype tombstone unless the service has SLACK_FOLLOW_EDITS=true",
      code: "edits_not_followed",
      field: "payload",
    })
  })
})
