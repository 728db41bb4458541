import { uuidv7 } from "uuidv7"
import { describe, expect, it } from "vitest"
import { FieldMapping } from "../../../src/bridges/kafka/field-mapping.ts"
import { replayDeadLetter } from "../../../src/ingest/replay-dead-letter.ts"
import { type DeadLetter, deadLetterById, insertDeadLetters } from "../../../src/store/dead-letters.ts"
import { countOf, freshConversation, query } from "../service.ts"
import { testContext, testQueue } from "./context.ts"

const mapping = FieldMapping.parse({})

async function kept(fields: Pick<DeadLetter, "source" | "record">) {
  const transactionId = uuidv7()
  const { db } = testContext()
  await insertDeadLetters(db, [{ transactionId, index: 0, caller: "bridge", reason: "why", ...fields }])
  const [row] = await query<{ id: string }>("select id from dead_letters where transaction_id = $1", [transactionId])
  return async () => {
    const letter = await deadLetterById(testContext().db, Number(row?.id))
    if (!letter) throw new Error("the dead letter is gone")
    return letter
  }
}

describe("a dead letter that is replayed", () => {
  it("is stored once, and counts as stored once", async () => {
    const conversation = freshConversation()
    const letter = await kept({ source: "kafka", record: JSON.stringify({ value: { context_window_id: conversation } }) })
    const first = await replayDeadLetter({ ...testContext(), mapping }, await letter())
    const second = await replayDeadLetter({ ...testContext(), mapping }, await letter())
    expect([first.stored?.total, second.stored]).toEqual([1, undefined])
    expect(second.answer).toEqual(first.answer)
    expect(await countOf(conversation)).toBe(1)
    expect((await letter()).state).toBe("replayed")
  })

  it("stays, with the reason, when it still can't become a signal", async () => {
    const letter = await kept({ source: "signal", record: JSON.stringify({ context_window_id: " " }) })
    const { answer, stored } = await replayDeadLetter({ ...testContext(), mapping }, await letter())
    expect(answer).toEqual({ replayed: false, reason: "context_window_id must not be blank" })
    expect(stored).toBeUndefined()
    expect((await letter()).state).toBe("waiting")
  })

  it("goes to the queue again when it is a whole message, and stays where there is none", async () => {
    const letter = await kept({ source: "queue", record: JSON.stringify("a message") })
    const none = await replayDeadLetter({ ...testContext({ queue: undefined }), mapping }, await letter())
    expect(none.answer).toEqual({ replayed: false, reason: "There is no queue to send it to." })
    const queue = testQueue()
    expect((await replayDeadLetter({ ...testContext({ queue }), mapping }, await letter())).answer).toEqual({ replayed: true })
    expect(queue.sent).toEqual(["a message"])
    expect((await letter()).state).toBe("replayed")
  })
})
