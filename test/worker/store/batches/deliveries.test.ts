import { uuidv7 } from "uuidv7"
import { describe, expect, it } from "vitest"
import { type Delivery, writeDeliveries, writeDelivery } from "../../../../src/store/batches/deliveries.ts"
import { Outcomes } from "../../../../src/store/batches/outcomes.ts"
import type { Database } from "../../../../src/store/database/connection.ts"
import { DatabaseError } from "../../../../src/store/database/errors.ts"
import { bodyOf, consume, delivery } from "../../consumer/messages.ts"
import { countOf, freshConversation, query, TOO_LONG_FOR_POSTGRES } from "../../service.ts"
import { database } from "./batch-of.ts"

/** What a call counts, also when it throws: new signals, duplicates, and the codes of failures. */
async function counted(db: Database, deliveries: readonly Delivery[]) {
  const outcomes = new Outcomes()
  const error = await writeDeliveries(db, deliveries, outcomes).catch((thrown: unknown) => thrown)
  const { stored, duplicates, failures } = outcomes.counts()
  return { stored, duplicates, codes: failures.map(({ code }) => code), isDone: !(error instanceof Error) }
}

/** Two deliveries that are written one by one, since the database refuses a signal of the second. */
function split(context_window_id: string): Delivery[] {
  const [good, mixed] = [
    delivery([{ context_window_id }, { context_window_id }]),
    delivery([{ context_window_id }, { context_window_id }]),
  ]
  const [, row] = mixed.batch.plan.rows
  if (row) row.payload = `{"n":${TOO_LONG_FOR_POSTGRES}}`
  return [good, mixed]
}

/** The database, with `work` instead of the statement with this index in a call. */
function replacing(index: number, work: (send: () => Promise<unknown>) => Promise<unknown>): Database {
  const db = database()
  let sent = 0
  return {
    ...db,
    query: <Row>(...statement: Parameters<Database["query"]>) =>
      (sent++ === index ? work(() => db.query(...statement)) : db.query(...statement)) as Promise<Row[]>,
  }
}

const NOTHING = { stored: 0, duplicates: 0, codes: [], isDone: true }

describe("the counts of deliveries that are written one by one", () => {
  it("are those of one call when the deliveries come again", async () => {
    const deliveries = split(freshConversation())
    expect(await counted(database(), deliveries)).toEqual({
      ...NOTHING,
      stored: 3,
      codes: ["refused_by_database"],
    })
    expect(await counted(database(), deliveries)).toEqual(NOTHING)
    expect(await counted(database(), deliveries.slice(1))).toEqual(NOTHING)
  })

  it("are exact when a call ends in the middle, and the next one stores the rest", async () => {
    const conversation = freshConversation()
    const deliveries = split(conversation)
    // The first statement is refused, the second stores the first delivery.
    const broken = replacing(2, () => Promise.reject(new DatabaseError("broken", "42501", false)))
    expect(await counted(broken, deliveries)).toEqual({ ...NOTHING, stored: 2, isDone: false })
    expect(await countOf(conversation)).toBe(2)
    expect(await counted(database(), deliveries)).toEqual({
      ...NOTHING,
      stored: 1,
      codes: ["refused_by_database"],
    })
    expect(await countOf(conversation)).toBe(3)
  })
})

describe("a delivery with a suppressed signal, and one that only the database refuses,", () => {
  /** How the database refuses a signal: when it reads the statement, and when it inserts the row. */
  const REFUSED = {
    "in the statement": { payload: `{"n":${TOO_LONG_FOR_POSTGRES}}` },
    "in the row": { signalScore: 7 },
  }
  type Refusal = keyof typeof REFUSED

  async function mixed(refusal: Refusal) {
    const [context_window_id, user_id] = [freshConversation(), `user ${crypto.randomUUID()}`]
    await query("insert into suppressions values ('user_id', subject_hash('user_id', $1), $2, true)", [
      user_id,
      uuidv7(),
    ])
    const [one, two] = [
      delivery([{ context_window_id, user_id }, { context_window_id }, { context_window_id }]),
      delivery([{ context_window_id, user_id }, { context_window_id }, { context_window_id }]),
    ]
    for (const { batch } of [one, two]) Object.assign(batch.plan.rows[1] ?? {}, REFUSED[refusal])
    return { conversation: context_window_id, one, two }
  }

  const keptOf = (conversation: string) =>
    query<{ code: string; index: number }>("select code, index from dead_letters where record like $1", [
      `%${conversation}%`,
    ])
  const KEPT = { code: "refused_by_database", index: 1 }

  it.each(Object.keys(REFUSED) as Refusal[])(
    "is stored without both, and the refused one is a dead letter: %s",
    async (refusal) => {
      const { conversation, one, two } = await mixed(refusal)
      const good = delivery([{ context_window_id: conversation }])
      const sent = [good, one, two]
      expect(await counted(database(), sent)).toMatchObject({ stored: 3, isDone: true })
      expect([await countOf(conversation), await keptOf(conversation)]).toEqual([3, [KEPT, KEPT]])
      expect(await counted(database(), sent)).toEqual(NOTHING)
      expect([await countOf(conversation), (await keptOf(conversation)).length]).toEqual([3, 2])
    },
  )

  it.each(Object.keys(REFUSED) as Refusal[])(
    "is stored so at once, too, where there is no queue: %s",
    async (refusal) => {
      const { conversation, one } = await mixed(refusal)
      expect(await writeDelivery(database(), one)).toMatchObject({
        stored: 1,
        refused: [{ index: 1, code: "refused_by_database" }],
        suppressed: [{ failure: { index: 0, code: "suppressed" } }],
      })
      expect([await countOf(conversation), await keptOf(conversation)]).toEqual([1, [KEPT]])
    },
  )

  it("is acknowledged by the consumer", async () => {
    const { conversation, one } = await mixed("in the row")
    const { explicitAcks } = await consume([bodyOf(one)])
    expect([explicitAcks.length, await countOf(conversation)]).toEqual([1, 1])
  })
})

describe("the counts of a delivery", () => {
  it("include a suppressed signal once", async () => {
    const [context_window_id, user_id] = [freshConversation(), `user ${crypto.randomUUID()}`]
    await query("insert into suppressions values ('user_id', subject_hash('user_id', $1), $2, true)", [
      user_id,
      uuidv7(),
    ])
    const deliveries = [delivery([{ context_window_id, user_id }, { context_window_id }])]
    expect(await counted(database(), deliveries)).toEqual({ ...NOTHING, stored: 1, codes: ["suppressed"] })
    expect(await counted(database(), deliveries)).toEqual(NOTHING)
  })

  it("include an edit that the database refuses once, as failed and not as a duplicate", async () => {
    const context_window_id = freshConversation()
    const signal = { context_window_id, dedupe_key: context_window_id }
    await writeDeliveries(database(), [delivery([signal])])
    const edit = delivery([signal])
    for (const row of edit.batch.plan.rows) {
      row.payload = `{"n":${TOO_LONG_FOR_POSTGRES}}`
      row.change = { kind: "edited", at: "2026-01-01T00:00:01.000000Z" }
    }
    expect(await counted(database(), [edit])).toEqual({ ...NOTHING, codes: ["refused_by_database"] })
    expect(await counted(database(), [edit])).toEqual(NOTHING)
  })

  it("omit signals whose statement lost its answer, since no later call knows whether they were counted", async () => {
    const conversation = freshConversation()
    const deliveries = [delivery([{ context_window_id: conversation }])]
    const losing = replacing(0, async (send) => {
      await send()
      throw new DatabaseError("transient", "answer lost", true)
    })
    expect(await counted(losing, deliveries)).toEqual(NOTHING)
    expect(await counted(database(), deliveries)).toEqual(NOTHING)
    expect(await countOf(conversation)).toBe(1)
  })
})
