import { PgDialect } from "drizzle-orm/pg-core"
import { uuidv7 } from "uuidv7"
import { describe, expect, it } from "vitest"
import type { Bindings } from "../../../src/bindings.ts"
import { FieldMapping } from "../../../src/bridges/kafka/mapping.ts"
import { continueErasure } from "../../../src/ingest/erase.ts"
import { replayDeadLetter } from "../../../src/ingest/replay.ts"
import { timeLimitAt } from "../../../src/signals/rules.ts"
import type { Database } from "../../../src/store/database/connection.ts"
import { deadLetterById, insertDeadLetters } from "../../../src/store/dead-letters/store.ts"
import { type ErasureTarget, enterErasure } from "../../../src/store/lifecycle/erasures.ts"
import { consume } from "../consumer/messages.ts"
import { freshChannel, message, sendSigned } from "../http/routes/slack/requests.ts"
import { query } from "../service.ts"
import { testContext } from "./context.ts"

const TS = "1790000000.000100"
const SECRET_TEXT = "what was erased"

/** A user and a channel of the test's own, and Slack's events about one message of that user. */
function ownMessage() {
  const user = `U${crypto.randomUUID().replaceAll("-", "").toUpperCase()}`
  const channel = freshChannel()
  const text = SECRET_TEXT
  const changed = (more: object = {}) =>
    message(channel, {
      subtype: "message_changed",
      hidden: true,
      user: undefined,
      text: undefined,
      ts: "1790000101.000500",
      event_ts: "1790000101.000500",
      message: { type: "message", user, text, ts: TS },
      previous_message: { type: "message", user, text, ts: TS },
      ...more,
    })
  return {
    user,
    channel,
    said: () => message(channel, { user, text, ts: TS }),
    changed,
    deleted: () =>
      message(channel, {
        subtype: "message_deleted",
        hidden: true,
        user: undefined,
        text: undefined,
        deleted_ts: TS,
      }),
  }
}

async function erase(target: ErasureTarget, suppress: boolean): Promise<void> {
  const { record } = await enterErasure(testContext().db, {
    requestedBy: "tests",
    target,
    suppress,
    idempotency: undefined,
  })
  await continueErasure(testContext(), record.id, Date.now() + 10_000)
}

const textsOf = async (channel: string) =>
  (
    await query<{ raw_content: string }>("select raw_content from signals where context_window_id = $1", [
      `T1/${channel}`,
    ])
  ).map(({ raw_content }) => raw_content)
const deadLettersOf = (user: string) =>
  query("select reason from dead_letters where strpos(record, $1) > 0", [user])

describe.each<[string, Partial<Bindings>]>([
  ["through the queue", {}],
  ["without a queue", { QUEUE: undefined } as unknown as Partial<Bindings>],
])("Slack's events about an erased user, with SLACK_FOLLOW_EDITS, %s,", (_, changed) => {
  const settings = { SLACK_FOLLOW_EDITS: "true", ...changed }
  const send = async (event: object) => {
    const sent = await sendSigned(event, { changed: settings })
    expect(sent.response.status).toBe(200)
    return sent.queued
  }
  const deliver = async (event: object) => consume(await send(event))

  it.each([
    ["suppressed", true],
    ["erased once", false],
  ])("neither bring back the message by an edit nor keep a dead letter: %s", async (_, suppress) => {
    const { user, channel, said, changed, deleted } = ownMessage()
    await deliver(said())
    expect(await textsOf(channel)).toEqual([SECRET_TEXT])
    await erase({ kind: "user_id", subject: user }, suppress)
    for (const event of [changed(), said(), changed(), deleted(), changed()]) {
      await deliver(event)
      expect(await textsOf(channel)).toEqual([])
    }
    expect(await deadLettersOf(user)).toEqual([])
  })

  it("do not store the text of a suppressed user where the message itself never came", async () => {
    const { user, channel, changed, deleted } = ownMessage()
    await erase({ kind: "user_id", subject: user }, true)
    for (const event of [changed(), deleted(), changed()]) await deliver(event)
    expect(await textsOf(channel)).toEqual([])
  })

  it("leave no dead letter of a suppressed user's unreadable edit, and keep that of another user", async () => {
    const [one, other] = [ownMessage(), ownMessage()]
    await erase({ kind: "user_id", subject: one.user }, true)
    for (const { changed } of [one, other]) {
      await deliver(changed({ ts: undefined, event_ts: "not a time" }))
      await deliver(changed({ channel: "no channel" }))
    }
    expect(await deadLettersOf(one.user)).toEqual([])
    expect(await deadLettersOf(other.user)).toHaveLength(2)
  })

  it("are refused in an erased conversation, too", async () => {
    const { channel, said, changed, deleted } = ownMessage()
    await deliver(said())
    await erase({ kind: "context_window_id", subject: `T1/${channel}` }, true)
    for (const event of [changed(), said(), deleted(), changed()]) await deliver(event)
    expect(await textsOf(channel)).toEqual([])
  })
})

describe("a message that waited in the queue when its user was erased", () => {
  it("does not come back by a later edit, nor by another delivery of it", async () => {
    const { user, channel, said, changed } = ownMessage()
    const settings = { SLACK_FOLLOW_EDITS: "true" }
    const waiting = await sendSigned(said(), { changed: settings })
    await erase({ kind: "user_id", subject: user }, false)
    await consume(waiting.queued)
    expect(await textsOf(channel)).toEqual([])
    for (const event of [changed(), said()])
      await consume((await sendSigned(event, { changed: settings })).queued)
    expect(await textsOf(channel)).toEqual([])
  })
})

describe("a dead letter of an edit", () => {
  it("is deleted and not replayed where its user is suppressed after its row was written", async () => {
    const { user, channel, said, changed } = ownMessage()
    await consume((await sendSigned(said(), { changed: { SLACK_FOLLOW_EDITS: "true" } })).queued)
    const author = `${user}X`
    const edited = changed({ message: { type: "message", user: author, text: "an edit", ts: TS } })
    const { db } = testContext()
    const [transactionId, record] = [uuidv7(), JSON.stringify(edited)]
    await insertDeadLetters(db, [
      {
        transactionId,
        index: 0,
        source: "slack",
        caller: "slack",
        reason: "why",
        code: "unreadable_record",
        record,
      },
    ])
    const [row] = await query<{ id: string }>("select id from dead_letters where transaction_id = $1", [
      transactionId,
    ])
    const deadLetter = await deadLetterById(db, Number(row?.id))
    if (!deadLetter) throw new Error("the dead letter is gone")
    const suppressing: Database = {
      ...db,
      async query(statement, options) {
        if (new PgDialect().sqlToQuery(statement).sql.includes("edit_signals_by_key"))
          await query("insert into suppressions values ('user_id', subject_hash('user_id', $1), $2, true)", [
            author,
            uuidv7(),
          ])
        return db.query(statement, options)
      },
    }
    const timeLimit = timeLimitAt(new Date("2030-01-01"), 86_400)
    const context = {
      ...testContext(),
      db: suppressing,
      mapping: FieldMapping.parse({}),
      followSlackEdits: true,
      timeLimit,
    }
    const { answer, stored } = await replayDeadLetter(context, deadLetter)
    expect([answer.replayed, stored]).toEqual([false, undefined])
    expect(answer.reason).toMatch(/^user_id is suppressed: .* The dead letter was deleted\.$/)
    expect(await deadLettersOf(author)).toEqual([])
    expect(await textsOf(channel)).toEqual([SECRET_TEXT])
  })
})
