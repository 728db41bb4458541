import { uuidv7 } from "uuidv7"
import { describe, expect, it } from "vitest"
import { FieldMapping } from "../../../src/bridges/kafka/mapping.ts"
import { replayDeadLetter, replayDeadLetters } from "../../../src/ingest/replay.ts"
import { timeLimitAt } from "../../../src/signals/rules.ts"
import { DatabaseError } from "../../../src/store/database/errors.ts"
import { type DeadLetter, deadLetterById, insertDeadLetters } from "../../../src/store/dead-letters/store.ts"
import { countOf, freshConversation, query, TOO_LONG_FOR_POSTGRES } from "../service.ts"
import { testContext, testQueue } from "./context.ts"

const around = {
  mapping: FieldMapping.parse({}),
  followSlackEdits: true,
  timeLimit: timeLimitAt(new Date(), 86_400),
}

async function kept(fields: Pick<DeadLetter, "source" | "record">) {
  const transactionId = uuidv7()
  const { db } = testContext()
  await insertDeadLetters(db, [
    { transactionId, index: 0, caller: "bridge", reason: "why", code: "unreadable_record", ...fields },
  ])
  const [row] = await query<{ id: string }>("select id from dead_letters where transaction_id = $1", [
    transactionId,
  ])
  return async () => {
    const deadLetter = await deadLetterById(testContext().db, Number(row?.id))
    if (!deadLetter) throw new Error("the dead letter is gone")
    return deadLetter
  }
}

/** A database that refuses statements, each with certainty, after so many of them. */
function refusingAfter(statements: number) {
  const { db } = testContext()
  let left = statements
  return {
    ...db,
    query: async <Row>(...args: Parameters<typeof db.query>): Promise<Row[]> => {
      if (left-- <= 0) throw new DatabaseError("overloaded", "too many in flight", false)
      return db.query<Row>(...args)
    },
  }
}

describe("a replay that the database stops", () => {
  it.each([
    ["one dead letter", 1],
    ["three dead letters", 3],
  ])("does not deny what it has stored or marked, after any statement: %s", async (_, count) => {
    for (let statements = 0; ; statements++) {
      const conversation = freshConversation()
      const record = JSON.stringify({ value: { context_window_id: conversation } })
      const letters = await Promise.all(
        Array.from({ length: count }, async () => (await kept({ source: "kafka", record }))()),
      )
      const context = { ...testContext(), ...around, db: refusingAfter(statements) }
      const [first] = letters
      const replaying =
        count === 1 && first
          ? replayDeadLetter(context, first)
          : replayDeadLetters(context, { ids: letters.map(({ id }) => id), state: "waiting", limit: count })
      const error = await replaying.then(
        () => undefined,
        (thrown: DatabaseError) => thrown,
      )
      const stored = await countOf(conversation)
      expect([statements, stored, error?.mayHaveRun]).toEqual([
        statements,
        expect.any(Number),
        error && stored > 0,
      ])
      if (!error) return expect(stored).toBe(count)
    }
  })
})

describe("a dead letter that is replayed", () => {
  it("is stored once, and counts as stored once", async () => {
    const conversation = freshConversation()
    const deadLetter = await kept({
      source: "kafka",
      record: JSON.stringify({ value: { context_window_id: conversation } }),
    })
    const first = await replayDeadLetter({ ...testContext(), ...around }, await deadLetter())
    const second = await replayDeadLetter({ ...testContext(), ...around }, await deadLetter())
    expect([first.stored?.total, second.stored]).toEqual([1, undefined])
    expect(second.answer).toEqual(first.answer)
    expect(await countOf(conversation)).toBe(1)
    expect((await deadLetter()).state).toBe("replayed")
  })

  it("stays, with the reason, when it still cannot become a signal", async () => {
    const deadLetter = await kept({ source: "signal", record: JSON.stringify({ context_window_id: " " }) })
    const { answer, stored } = await replayDeadLetter({ ...testContext(), ...around }, await deadLetter())
    expect(answer).toEqual({ replayed: false, reason: "context_window_id must not be blank" })
    expect(stored).toBeUndefined()
    expect((await deadLetter()).state).toBe("waiting")
  })

  it("goes to the queue again when it is a whole message, and stays without a queue", async () => {
    const deadLetter = await kept({ source: "queue", record: JSON.stringify("a message") })
    const none = await replayDeadLetter(
      { ...testContext({ queue: undefined }), ...around },
      await deadLetter(),
    )
    expect(none.answer).toEqual({ replayed: false, reason: "There is no queue to send it to." })
    const queue = testQueue()
    expect(
      (await replayDeadLetter({ ...testContext({ queue }), ...around }, await deadLetter())).answer,
    ).toEqual({ replayed: true })
    expect(queue.sent).toEqual(["a message"])
    expect((await deadLetter()).state).toBe("replayed")
  })
})

describe("a record whose time was too far ahead when it arrived", () => {
  it("is checked by the clock of its replay", async () => {
    const record = JSON.stringify({
      context_window_id: freshConversation(),
      timestamp: "2026-01-10T00:00:00Z",
    })
    const deadLetter = await kept({ source: "signal", record })
    const replayAt = async (time: string) => {
      const timeLimit = timeLimitAt(new Date(time), 86_400)
      return (await replayDeadLetter({ ...testContext(), ...around, timeLimit }, await deadLetter())).answer
    }
    expect(await replayAt("2026-01-08T00:00:00Z")).toEqual({
      replayed: false,
      reason: "timestamp must be at most 86400 seconds ahead of the service's clock",
    })
    expect(await replayAt("2026-01-09T00:00:00Z")).toMatchObject({ replayed: true })
  })
})

describe("a record without a time of its own", () => {
  it("gets the time of its dead letter, not of its replay", async () => {
    const conversation = freshConversation()
    const deadLetter = await kept({
      source: "signal",
      record: JSON.stringify({ context_window_id: conversation }),
    })
    await query("update dead_letters set created_at = '2025-03-04T05:06:07Z' where id = $1", [
      (await deadLetter()).id,
    ])
    await replayDeadLetter({ ...testContext(), ...around }, await deadLetter())
    expect(await query("select time from signals where context_window_id = $1", [conversation])).toEqual([
      { time: new Date("2025-03-04T05:06:07Z") },
    ])
  })
})

describe("a record whose writer chose a dedupe key of a bridge", () => {
  it.each(["slack:T1/C1/1", "kafka:t/0/7", "cloudevent:a/b"])(
    "stays a dead letter when it is replayed, alone and with others: %s",
    async (dedupe_key) => {
      const conversation = freshConversation()
      const value = { context_window_id: conversation, dedupe_key }
      const deadLetter = await kept({
        source: "kafka",
        record: JSON.stringify({ value, identity: "kafka:t/0/1" }),
      })
      const { answer } = await replayDeadLetter({ ...testContext(), ...around }, await deadLetter())
      expect(answer).toMatchObject({
        replayed: false,
        reason: expect.stringContaining("must not begin with"),
      })
      const choice = { ids: [(await deadLetter()).id], state: "waiting" as const, limit: 500 }
      expect((await replayDeadLetters({ ...testContext(), ...around }, choice)).answer.replayed_count).toBe(0)
      expect(await countOf(conversation)).toBe(0)
    },
  )

  it("is stored when it is the identity of the record itself", async () => {
    const conversation = freshConversation()
    const identity = `kafka:${conversation}/0/1`
    const value = { context_window_id: conversation, dedupe_key: identity }
    const deadLetter = await kept({ source: "kafka", record: JSON.stringify({ value, identity }) })
    expect(
      (await replayDeadLetter({ ...testContext(), ...around }, await deadLetter())).answer.replayed,
    ).toBe(true)
    expect(await countOf(conversation)).toBe(1)
  })
})

describe("many dead letters that are replayed", () => {
  it("are stored once each, page by page, and those that cannot be stored stay with their reason", async () => {
    const conversation = freshConversation()
    const ids: number[] = []
    for (let index = 0; index < 7; index++) {
      const broken =
        index === 2
          ? { signal_score: 2 }
          : index === 4
            ? { payload: { n: JSON.rawJSON(TOO_LONG_FOR_POSTGRES) } }
            : {}
      const record = JSON.stringify({
        context_window_id: conversation,
        raw_content: String(index),
        ...broken,
      })
      ids.push((await (await kept({ source: "signal", record }))()).id)
    }
    for (let time = 0; time < 2; time++) {
      const failures: number[] = []
      let after: number | undefined
      let replayed = 0
      do {
        const choice = { ids, state: "waiting" as const, limit: 3, after }
        const { answer } = await replayDeadLetters({ ...testContext(), ...around }, choice)
        failures.push(...answer.failures.map(({ id }) => id))
        replayed += answer.replayed_count
        after = answer.next_cursor === null ? undefined : Number(answer.next_cursor)
      } while (after !== undefined)
      expect({ replayed, failures }).toEqual({ replayed: 5, failures: [ids[2], ids[4]] })
    }
    expect(await countOf(conversation)).toBe(5)
    const states = await query("select state from dead_letters where id = any($1::int8[]) order by id", [ids])
    expect(states.map((row) => (row as { state: string }).state)).toEqual(
      ids.map((_, index) => (index === 2 || index === 4 ? "waiting" : "replayed")),
    )
  })

  it("are chosen by state and source, and a page ends by bytes", async () => {
    const conversation = freshConversation()
    const record = JSON.stringify({ context_window_id: conversation, raw_content: "x".repeat(900_000) })
    for (let index = 0; index < 6; index++) await kept({ source: "signal", record })
    const first = await replayDeadLetters(
      { ...testContext(), ...around },
      { state: "waiting", source: "signal", limit: 500 },
    )
    expect(first.answer.next_cursor).not.toBeNull()
    let cursor = first.answer.next_cursor
    while (cursor !== null) {
      const choice = {
        state: "waiting" as const,
        source: "signal" as const,
        limit: 500,
        after: Number(cursor),
      }
      cursor = (await replayDeadLetters({ ...testContext(), ...around }, choice)).answer.next_cursor
    }
    expect(await countOf(conversation)).toBe(6)
  })

  it("dead letters that are whole messages go to the queue again, at most 100 in a call, and by bytes", async () => {
    const ids: number[] = []
    for (let index = 0; index < 5; index++)
      ids.push((await (await kept({ source: "queue", record: JSON.stringify("m".repeat(100_000)) }))()).id)
    const queue = testQueue()
    const { answer } = await replayDeadLetters(
      { ...testContext({ queue }), ...around },
      { ids, state: "waiting", limit: 500 },
    )
    expect(answer).toEqual({ replayed_count: 5, failed_count: 0, failures: [], next_cursor: null })
    expect(queue.sent).toHaveLength(5)
  })
})
