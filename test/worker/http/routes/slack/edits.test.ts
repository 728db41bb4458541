import fc from "fast-check"
import { describe, expect, it } from "vitest"
import type { Bindings } from "../../../../../src/bindings.ts"
import { consume } from "../../../consumer/messages.ts"
import { postBatch, query, send } from "../../../service.ts"
import { postTo } from "../queued.ts"
import { freshChannel, message, sendSigned } from "./requests.ts"

const FOLLOW = { SLACK_FOLLOW_EDITS: "true" }
const WITHOUT_QUEUE = { ...FOLLOW, QUEUE: undefined } as unknown as Partial<Bindings>

const TS = "1790000000.000100"
const SAID = { type: "message", user: "U1", text: "Hello", ts: TS }

const said = (channel: string) => message(channel)
const changed = (channel: string, second: number, more: object = {}) =>
  message(channel, {
    subtype: "message_changed",
    hidden: true,
    user: undefined,
    text: undefined,
    ts: `179000010${second}.000500`,
    event_ts: `179000010${second}.000500`,
    message: {
      ...SAID,
      text: `edit ${second}`,
      edited: { user: "U1", ts: `179000010${second}.000000` },
      ...more,
    },
    previous_message: SAID,
  })
const deleted = (channel: string) =>
  message(channel, {
    subtype: "message_deleted",
    hidden: true,
    ts: "1790000200.000100",
    event_ts: "1790000200.000100",
    deleted_ts: TS,
  })

const rowsOf = (channel: string) =>
  query<{ id: string; raw_content: string; edited_at: Date | null; payload: Record<string, unknown> }>(
    "select id, raw_content, edited_at, payload from signals where context_window_id = $1",
    [`T1/${channel}`],
  )

/** Sends events, again after a 503 as Slack does, and stores what the queue has taken, if there is one. */
async function deliver(events: readonly object[], settings: Partial<Bindings>): Promise<void> {
  for (const event of events) {
    let sent = await sendSigned(event, { changed: settings })
    for (let again = 0; sent.response.status === 503 && again < 5; again++)
      sent = await sendSigned(event, { changed: settings })
    expect(sent.response.status).toBe(200)
    await consume(sent.queued)
  }
}

describe.each([
  ["through the queue", FOLLOW],
  ["without a queue", WITHOUT_QUEUE],
])("with SLACK_FOLLOW_EDITS, %s,", (_, settings) => {
  it("an edit gives the message its text and payload, and keeps its id", async () => {
    const channel = freshChannel()
    await deliver([said(channel)], settings)
    const [before] = await rowsOf(channel)
    await deliver([changed(channel, 1)], settings)
    const [after, ...none] = await rowsOf(channel)
    expect(none).toEqual([])
    expect(after).toMatchObject({
      id: before?.id,
      raw_content: "edit 1",
      edited_at: new Date("2026-09-21T14:15:01.000Z"),
    })
    expect(after?.payload).toMatchObject({ edited: { user: "U1", ts: "1790000101.000000" }, channel })
    const read = (await (await send(`/api/signals/${after?.id}`)).json()) as { edited_at: string }
    expect(read.edited_at).toBe("2026-09-21T14:15:01.000500Z")
  })

  it("a message of Slack Connect is one, whichever workspace sends it, and an edit and a deletion of either reach it", async () => {
    const channel = freshChannel()
    const theirs = (event: object) => ({ ...event, team_id: "T2", is_ext_shared_channel: true })
    await deliver([theirs(said(channel)), said(channel), changed(channel, 1)], settings)
    const stored = () =>
      query<{ context_window_id: string; raw_content: string }>(
        "select context_window_id, raw_content from signals where context_window_id like $1",
        [`%/${channel}`],
      )
    expect(await stored()).toEqual([{ context_window_id: `T2/${channel}`, raw_content: "edit 1" }])
    await deliver([deleted(channel), theirs(said(channel))], settings)
    expect(await stored()).toEqual([])
  })

  it("a deletion erases the message, which is not stored again", async () => {
    const channel = freshChannel()
    await deliver([said(channel), deleted(channel), said(channel), changed(channel, 1)], settings)
    expect(await rowsOf(channel)).toEqual([])
  })

  it("its events lead to the same state in every order, repeated, and with any of them missing", () =>
    fc.assert(
      fc.asyncProperty(
        fc
          .subarray(["said", 1, 2, 3, "deleted"] as const, { minLength: 1 })
          .chain((some) =>
            fc.tuple(
              fc.shuffledSubarray(some, { minLength: some.length }),
              fc.array(fc.constantFrom(...some), { maxLength: 2 }),
            ),
          ),
        async ([once, again]) => {
          const channel = freshChannel()
          const events = [...once, ...again].map((what) =>
            what === "said" ? said(channel) : what === "deleted" ? deleted(channel) : changed(channel, what),
          )
          await deliver(events, settings)
          const newest = Math.max(0, ...once.filter((what) => typeof what === "number"))
          const text = newest > 0 ? `edit ${newest}` : "Hello"
          const rows = (await rowsOf(channel)).map(({ raw_content }) => raw_content)
          expect(rows).toEqual(once.includes("deleted") ? [] : [text])
        },
      ),
      { numRuns: 15 },
    ))
})

describe("with SLACK_FOLLOW_EDITS", () => {
  it("no dead letter has the text that an edit removed", async () => {
    const channel = freshChannel()
    const event = changed(channel, 1, { text: 7 })
    const { answer } = await sendSigned(event, { changed: WITHOUT_QUEUE })
    expect(answer).toMatchObject({ state: "stored", failed_count: 1 })
    const [deadLetter] = await query<{ record: string }>(
      "select record from dead_letters where transaction_id = $1",
      [answer.transaction_id],
    )
    expect(deadLetter?.record).toContain("message_changed")
    expect(deadLetter?.record).not.toContain("Hello")
  })

  /** A copy of the message as an import sends it. */
  const copy = (channel: string, more: object) => ({
    context_window_id: `T1/${channel}`,
    timestamp: "2026-09-21T14:13:20.000100Z",
    dedupe_key: `slack:${channel}/${TS}`,
    raw_content: "imported",
    payload: more,
  })
  const imported = async (signal: object, headers = {}) => {
    const { answer, sent } = await postTo({ signals: [signal] }, headers, FOLLOW)
    await consume(sent)
    return answer as unknown as { results: { success: boolean; duplicate?: true; error: string | null }[] }
  }
  const edited = { edited: { user: "U1", ts: "1790000102.000000" } }

  it.each([
    ["at once", {}],
    ["through the queue", { Prefer: "respond-async" }],
  ])("an import that is newer wins, before and after the webhook, %s", async (_, headers) => {
    for (const importFirst of [true, false]) {
      const channel = freshChannel()
      const events = [said(channel), changed(channel, 1)]
      if (!importFirst) await deliver(events, FOLLOW)
      await imported(copy(channel, edited), headers)
      if (importFirst) await deliver(events, FOLLOW)
      expect(await rowsOf(channel)).toMatchObject([
        { raw_content: "imported", edited_at: new Date("2026-09-21T14:15:02Z") },
      ])
      await deliver([changed(channel, 3)], FOLLOW)
      await imported(copy(channel, edited), headers)
      expect(await rowsOf(channel)).toMatchObject([{ raw_content: "edit 3" }])
    }
  })

  it.each([
    ["at once", {}],
    ["through the queue", { Prefer: "respond-async" }],
  ])("a tombstone of an import erases the message, before and after the webhook, %s", async (_, headers) => {
    for (const importFirst of [true, false]) {
      const channel = freshChannel()
      if (!importFirst) await deliver([said(channel)], FOLLOW)
      await imported(copy(channel, { subtype: "tombstone" }), headers)
      if (importFirst) await deliver([said(channel)], FOLLOW)
      expect(await rowsOf(channel)).toEqual([])
    }
  })
})

describe("without SLACK_FOLLOW_EDITS", () => {
  it("edits and deletions are skipped by name", async () => {
    const channel = freshChannel()
    await deliver([said(channel)], {})
    const events = { message_changed: changed(channel, 1), message_deleted: deleted(channel) }
    for (const [name, event] of Object.entries(events))
      expect((await sendSigned(event)).answer).toMatchObject({ state: "skipped", skipped: { [name]: 1 } })
    expect(await rowsOf(channel)).toMatchObject([{ raw_content: "Hello", edited_at: null }])
  })

  it("a tombstone of an import fails, and an edited copy is stored like any message", async () => {
    const channel = freshChannel()
    const signal = { context_window_id: "c", dedupe_key: `slack:${channel}/${TS}` }
    const signals = [{ subtype: "tombstone" }, { edited: { ts: "1790000102" } }].map((payload) => ({
      ...signal,
      payload,
    }))
    expect(await (await postBatch({ signals })).json()).toMatchObject({
      results: [{ success: false, error: expect.stringContaining("SLACK_FOLLOW_EDITS") }, { success: true }],
    })
  })
})
