import { uuidv7 } from "uuidv7"
import { describe, expect, it } from "vitest"
import { type Delivery, Outcomes, writeDeliveries } from "../../../../src/store/batches/deliveries.ts"
import type { Database } from "../../../../src/store/database/connection.ts"
import { DatabaseError } from "../../../../src/store/database/errors.ts"
import { delivery } from "../../consumer/messages.ts"
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
