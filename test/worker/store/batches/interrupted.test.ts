import { describe, expect, it } from "vitest"
import type { Change } from "../../../../src/signals/schema.ts"
import type { Delivery } from "../../../../src/store/batches/deliveries.ts"
import { writeDeliveries, writeDelivery } from "../../../../src/store/batches/deliveries.ts"
import { writeBatch } from "../../../../src/store/batches/write.ts"
import type { Database } from "../../../../src/store/database/connection.ts"
import { delivery } from "../../consumer/messages.ts"
import { freshConversation, query } from "../../service.ts"
import { batchOf, database } from "./batch-of.ts"

/** A database whose process ends after so many statements have committed. */
function mortal(statements: number): Database {
  const db = database()
  let left = statements
  return {
    ...db,
    query: async <Row>(...args: Parameters<Database["query"]>): Promise<Row[]> => {
      if (left-- <= 0) throw new Error("the process has ended")
      return db.query<Row>(...args)
    },
  }
}

/**
 * Stops `work` before its first statement, then after each in turn, until it ends by itself. Returns the
 * number of statements.
 */
async function stopAfterEach(work: (db: Database, attempt: number) => Promise<unknown>): Promise<number> {
  for (let statements = 0; ; statements++) {
    const isWhole = await work(mortal(statements), statements).then(
      () => true,
      (error) => {
        if (!/process has ended/.test(String(error))) throw error
        return false
      },
    )
    if (isWhole) return statements
  }
}

const withChange = <Batch extends { plan: { rows: object[] } }>(batch: Batch, change: Change): Batch => {
  for (const row of batch.plan.rows) Object.assign(row, { change })
  return batch
}

/** Everything that a batch left in the tables. */
async function stateOf(transactionId: string, conversation: string) {
  const [signals, deadLetters, ledger] = await Promise.all([
    query("select raw_content, edited_at from signals where context_window_id = $1 order by id", [
      conversation,
    ]),
    query("select index, source, code, record from dead_letters where transaction_id = $1 order by index", [
      transactionId,
    ]),
    query("select total_count, failed_count from batches where transaction_id = $1", [transactionId]),
  ])
  return { signals, deadLetters, ledger }
}

const EDIT: Change = { kind: "edited", at: "2026-01-01T00:00:05.000000Z" }

/**
 * A message of every kind, about a message that is stored before. No rule lets a score of 7 through: only the
 * database refuses it.
 */
const KINDS: [name: string, make: (conversation: string, key: string) => Delivery][] = [
  ["good signals", (context_window_id) => delivery([{ context_window_id }, { context_window_id }])],
  [
    "a record that breaks a rule",
    (context_window_id) => delivery([{ context_window_id, signal_score: 2 }, { context_window_id }]),
  ],
  [
    "a row that the database refuses, beside a record that breaks a rule",
    (context_window_id) => {
      const made = delivery([
        { context_window_id },
        { context_window_id, signal_score: 2 },
        { context_window_id },
      ])
      Object.assign(made.batch.plan.rows[0] ?? {}, { signalScore: 7 })
      return made
    },
  ],
  ["a duplicate", (context_window_id, dedupe_key) => delivery([{ context_window_id, dedupe_key }])],
  [
    "an edit",
    (context_window_id, dedupe_key) => {
      const made = delivery([{ context_window_id, dedupe_key, raw_content: "edited" }])
      return { ...made, batch: withChange(made.batch, EDIT) }
    },
  ],
  [
    "a deletion",
    (context_window_id, dedupe_key) => {
      const made = delivery([{ context_window_id, dedupe_key }])
      return { ...made, batch: withChange(made.batch, { kind: "deleted" }) }
    },
  ],
  [
    "an edit beside a row that the database refuses",
    (context_window_id, dedupe_key) => {
      const made = delivery([{ context_window_id, dedupe_key, raw_content: "edited" }, { context_window_id }])
      Object.assign(made.batch.plan.rows[0] ?? {}, { change: EDIT })
      Object.assign(made.batch.plan.rows[1] ?? {}, { signalScore: 7 })
      return made
    },
  ],
]

describe.each([
  ["delivered by the queue", (db: Database, made: Delivery) => writeDeliveries(db, [made])],
  ["delivered without a queue", (db: Database, made: Delivery) => writeDelivery(db, made)],
])("a delivery %s, whose process ends after any of its statements", (_, write) => {
  it.each(KINDS)("ends in the same state when it is delivered again: %s", async (_, make) => {
    const prepare = async () => {
      const [conversation, key] = [freshConversation(), `key-${crypto.randomUUID()}`]
      await writeBatch(
        database(),
        batchOf([{ context_window_id: conversation, dedupe_key: key, raw_content: "first" }]),
      )
      return { conversation, made: make(conversation, key) }
    }
    const control = await prepare()
    await write(database(), control.made)
    const expected = await stateOf(control.made.batch.transactionId, control.conversation)
    const withoutNames = (state: typeof expected, conversation: string) =>
      JSON.stringify(state)
        .replaceAll(conversation, "C")
        .replaceAll(/key-[0-9a-f-]{36}/g, "K")

    await stopAfterEach(async (db) => {
      const { conversation, made } = await prepare()
      const stopped = await write(db, made).then(
        () => undefined,
        (error) => error,
      )
      await write(database(), made)
      const state = await stateOf(made.batch.transactionId, conversation)
      expect(withoutNames(state, conversation)).toBe(withoutNames(expected, control.conversation))
      if (stopped) throw stopped
    })
  })
})

describe("a message that an earlier version entered in the ledger", () => {
  it("gets its dead letters and its changes when it is delivered again", async () => {
    const [conversation, key] = [freshConversation(), `key-${crypto.randomUUID()}`]
    await writeBatch(database(), batchOf([{ context_window_id: conversation, dedupe_key: key }]))
    const made = delivery([
      { context_window_id: conversation, dedupe_key: key, raw_content: "edited" },
      { context_window_id: conversation, signal_score: 2 },
      { context_window_id: conversation },
    ])
    Object.assign(made.batch.plan.rows[0] ?? {}, { change: EDIT })
    const refusal = { index: 2, error: "refused by the database: why", code: "refused_by_database" }
    await query(
      `insert into batches (transaction_id, caller, state, total_count, failed_count, failures)
       values ($1, 'tests', 'stored', 3, 2, $2)`,
      [
        made.batch.transactionId,
        JSON.stringify([...made.batch.plan.failures, { ...refusal, retryable: false }]),
      ],
    )
    await writeDeliveries(database(), [made])
    await writeDeliveries(database(), [made])
    const { signals, deadLetters } = await stateOf(made.batch.transactionId, conversation)
    expect(signals).toEqual([{ raw_content: "edited", edited_at: new Date(EDIT.at) }])
    expect(deadLetters).toMatchObject([
      { index: 1, code: "out_of_range", source: "kafka" },
      { index: 2, code: "refused_by_database", source: "signal" },
    ])
  })
})

describe("a batch that is refused", () => {
  const stored = async () => {
    const [conversation, key] = [freshConversation(), `key-${crypto.randomUUID()}`]
    await writeBatch(database(), batchOf([{ context_window_id: conversation, dedupe_key: key }]))
    const tombstone = () =>
      withChange(batchOf([{ context_window_id: conversation, dedupe_key: key }]), { kind: "deleted" })
    const isLeft = async () => (await query("select from signals where dedupe_key = $1", [key])).length === 1
    return { conversation, tombstone, isLeft }
  }

  it("deletes nothing when its Idempotency-Key was used for another request", async () => {
    const { tombstone, isLeft } = await stored()
    const idempotency = { key: crypto.randomUUID(), requestHash: "first" }
    await writeBatch(database(), batchOf([{ context_window_id: "c" }], { idempotency }))
    const batch = { ...tombstone(), idempotency: { ...idempotency, requestHash: "second" } }
    await expect(writeBatch(database(), batch)).rejects.toThrow("used for another request")
    expect(await isLeft()).toBe(true)
  })

  it.each(["by the database", "for a suppressed subject"])(
    "deletes nothing, all or nothing, %s",
    async (why) => {
      const { conversation, tombstone, isLeft } = await stored()
      const user = `user-${crypto.randomUUID()}`
      const other = batchOf([{ context_window_id: conversation, user_id: user }]).plan.rows.map((row) => ({
        ...row,
        index: 1,
        ...(why === "by the database" && { signalScore: 7 }),
      }))
      if (why !== "by the database")
        await query(
          "insert into suppressions values ('user_id', subject_hash('user_id', $1), gen_random_uuid(), true)",
          [user],
        )
      const { plan, ...batch } = tombstone()
      const whole = {
        ...batch,
        allOrNothing: true,
        plan: { ...plan, total: 2, rows: [...plan.rows, ...other] },
      }
      await expect(writeBatch(database(), whole)).rejects.toThrow("all-or-nothing")
      expect(await isLeft()).toBe(true)
    },
  )

  it("deletes nothing when an attempt is refused before it runs", async () => {
    const { tombstone, isLeft } = await stored()
    await expect(writeBatch(mortal(0), tombstone())).rejects.toThrow("process has ended")
    expect(await isLeft()).toBe(true)
  })
})

describe("a batch with one row that the database refuses", () => {
  it("stores the other 9,999, in order", async () => {
    const conversation = freshConversation()
    const signals = Array.from({ length: 10_000 }, (_, index) => ({
      context_window_id: conversation,
      raw_content: String(index),
    }))
    const batch = batchOf(signals)
    Object.assign(batch.plan.rows[6_543] ?? {}, { signalScore: 7 })
    const { stored, failures } = await writeBatch(database(), batch)
    expect(failures).toMatchObject([{ index: 6_543, code: "refused_by_database" }])
    const rows = await query<{ id: string; raw_content: string }>(
      "select id, raw_content from signals where context_window_id = $1",
      [conversation],
    )
    const textOf = new Map(rows.map(({ id, raw_content }) => [Number(id), raw_content]))
    expect(stored.map(({ index, id }) => textOf.get(id ?? 0) === String(index))).toEqual(
      Array.from({ length: 9_999 }, () => true),
    )
  })

  it.each([0, 1, 2, 4, 7])("fails each refused row alone: every row but %i", async (good) => {
    const conversation = freshConversation()
    const batch = batchOf(Array.from({ length: 8 }, () => ({ context_window_id: conversation })))
    for (const row of batch.plan.rows) if (row.index !== good) row.signalScore = 7
    const { stored, failures } = await writeBatch(database(), batch)
    expect(stored).toMatchObject([{ index: good, duplicate: false }])
    expect(failures.map(({ index }) => index)).toEqual(
      [0, 1, 2, 3, 4, 5, 6, 7].filter((index) => index !== good),
    )
  })
})
