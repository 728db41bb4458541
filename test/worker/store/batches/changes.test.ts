import { sql } from "drizzle-orm"
import { PgDialect } from "drizzle-orm/pg-core"
import fc from "fast-check"
import { uuidv7 } from "uuidv7"
import { describe, expect, it } from "vitest"
import { readSettings } from "../../../../src/config.ts"
import type { Change, SignalRow } from "../../../../src/signals/schema.ts"
import { writeDeliveries } from "../../../../src/store/batches/deliveries.ts"
import { writeBatch } from "../../../../src/store/batches/write.ts"
import { connect, type Database } from "../../../../src/store/database/connection.ts"
import { DatabaseError } from "../../../../src/store/database/errors.ts"
import { bindings, freshConversation, query, TOO_LONG_FOR_POSTGRES } from "../../service.ts"
import { batchOf } from "./batch-of.ts"

const database = () => connect(readSettings(bindings).database)

/** What happens to a message: it is said, edited at a second, or deleted. */
type Happening = "said" | number | "deleted"

const at = (second: number) => `2026-01-01T00:00:0${second}.000000Z`
const changeOf = (what: Happening): Change | undefined =>
  what === "said" ? undefined : what === "deleted" ? { kind: "deleted" } : { kind: "edited", at: at(what) }

/** A batch of one row for each happening, each with what it brings in every field that an edit changes. */
function batch(conversation: string, key: string, happenings: readonly Happening[]) {
  const signals = happenings.map((what) => ({
    context_window_id: conversation,
    dedupe_key: key,
    raw_content: `text ${what}`,
    user_id: `user ${what}`,
    agent_id: `agent ${what}`,
    payload: { version: what },
  }))
  const { plan, ...rest } = batchOf(signals)
  const rows: SignalRow[] = plan.rows.map((row, index) => {
    const change = changeOf(happenings[index] ?? "said")
    return change ? { ...row, change } : row
  })
  return {
    ...rest,
    transactionId: uuidv7(),
    allOrNothing: false as const,
    idempotency: undefined,
    plan: { ...plan, rows },
  }
}

const stateOf = (key: string) =>
  query("select raw_content, user_id, agent_id, payload, edited_at from signals where dedupe_key = $1", [key])

/** The state in which they end, whatever their order. */
function endOf(happenings: readonly Happening[]): unknown[] {
  if (happenings.includes("deleted")) return []
  const newest = Math.max(0, ...happenings.filter((what) => typeof what === "number"))
  const what = newest || "said"
  return [
    {
      raw_content: `text ${what}`,
      user_id: `user ${what}`,
      agent_id: `agent ${what}`,
      payload: { version: what },
      edited_at: newest ? new Date(at(newest)) : null,
    },
  ]
}

const happening = fc.oneof(fc.constant<Happening>("said"), fc.integer({ min: 1, max: 4 }), {
  weight: 1,
  arbitrary: fc.constant<Happening>("deleted"),
})

describe("a signal and its changes, in any order, repeated, and with any of them missing,", () => {
  it("end in the same state when they arrive one by one", () =>
    fc.assert(
      fc.asyncProperty(fc.array(happening, { minLength: 1, maxLength: 6 }), async (happenings) => {
        const conversation = freshConversation()
        for (const what of happenings) await writeBatch(database(), batch(conversation, conversation, [what]))
        expect(await stateOf(conversation)).toEqual(endOf(happenings))
      }),
      { numRuns: 40 },
    ))

  it("end in the same state when some arrive in one batch", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(happening, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 3 }),
        async (batches) => {
          const conversation = freshConversation()
          for (const happenings of batches)
            await writeBatch(database(), batch(conversation, conversation, happenings))
          expect(await stateOf(conversation)).toEqual(endOf(batches.flat()))
        },
      ),
      { numRuns: 25 },
    ))

  it("end in the same state when they arrive at once, some as deliveries of the queue", () =>
    fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.array(happening, { minLength: 1, maxLength: 3 }), fc.boolean()), {
          minLength: 2,
          maxLength: 6,
        }),
        async (writes) => {
          const conversation = freshConversation()
          const work = writes.map(([happenings, isDelivered]) => {
            const one = batch(conversation, conversation, happenings)
            return isDelivered
              ? writeDeliveries(database(), [{ batch: one, deadLetters: [] }])
              : writeBatch(database(), one)
          })
          await Promise.all(work)
          expect(await stateOf(conversation)).toEqual(endOf(writes.flatMap(([happenings]) => happenings)))
        },
      ),
      { numRuns: 40 },
    ))

  it("end in the same state when several messages change at once, in opposite orders", async () => {
    const conversation = freshConversation()
    const keys = Array.from({ length: 20 }, (_, index) => `${conversation}-${String(index).padStart(2, "0")}`)
    const write = async (order: readonly string[], what: Happening) => {
      const one = batch(conversation, "", [])
      const rows = order
        .flatMap((key) => batch(conversation, key, [what]).plan.rows)
        .map((row, index) => ({ ...row, index }))
      await writeBatch(database(), { ...one, plan: { total: rows.length, rows, failures: [] } })
    }
    const orders = [keys, keys.toReversed()]
    await Promise.all([1, 2, 3, "said" as const].flatMap((what) => orders.map((order) => write(order, what))))
    for (const key of keys) expect(await stateOf(key)).toEqual(endOf([3]))
    await Promise.all(orders.map((order) => write(order, "deleted")))
    await write(keys, "said")
    for (const key of keys) expect(await stateOf(key)).toEqual([])
  })
})

/** The database, with `work` before each statement that applies edits. */
function beforeEdit(work: () => Promise<void>): Database {
  const db = database()
  return {
    ...db,
    async query(statement, options) {
      if (new PgDialect().sqlToQuery(statement).sql.includes("edit_signals_by_key")) await work()
      return db.query(statement, options)
    },
  }
}

describe("a change", () => {
  it("is not made when its batch is not stored, and is made when the batch is sent again", async () => {
    const conversation = freshConversation()
    await writeBatch(database(), batch(conversation, conversation, ["said"]))
    const edit = batch(conversation, conversation, [2])
    const broken = beforeEdit(() => Promise.reject(new DatabaseError("broken", "42501", false)))
    await expect(writeBatch(broken, edit)).rejects.toThrow(DatabaseError)
    expect(await stateOf(conversation)).toEqual(endOf(["said"]))
    await writeBatch(database(), edit)
    expect(await stateOf(conversation)).toEqual(endOf([2]))
  })

  it("with values that only the database refuses fails, and does not change the signal", async () => {
    const conversation = freshConversation()
    await writeBatch(database(), batch(conversation, conversation, ["said"]))
    const edit = batch(conversation, conversation, [2])
    const rows = edit.plan.rows.map((row) => ({ ...row, payload: `{"n":${TOO_LONG_FOR_POSTGRES}}` }))
    const refused = { ...edit, plan: { ...edit.plan, rows } }
    const error = expect.stringContaining("refused by the database")
    expect(await writeBatch(database(), refused)).toMatchObject({
      failures: [{ index: 0, error }],
      stored: [],
      duplicates: 0,
    })
    expect(await writeDeliveries(database(), [{ batch: refused, deadLetters: [] }])).toMatchObject({
      refused: [{ index: 0, error }],
    })
    expect(
      await query("select reason from dead_letters where transaction_id = $1", [edit.transactionId]),
    ).toEqual([{ reason: error }])
    expect(await stateOf(conversation)).toEqual(endOf(["said"]))
  })

  it("does not bring back a signal that was erased", async () => {
    const conversation = freshConversation()
    await writeBatch(database(), batch(conversation, conversation, ["said"]))
    await query("delete from signals where dedupe_key = $1", [conversation])
    await writeBatch(database(), batch(conversation, conversation, [2]))
    expect(await stateOf(conversation)).toEqual([])
  })

  it("of a suppressed subject is refused, and does not change the signal", async () => {
    const conversation = freshConversation()
    await writeBatch(database(), batch(conversation, conversation, ["said"]))
    const user = `user ${crypto.randomUUID()}`
    await query("insert into suppressions values ('user_id', subject_hash('user_id', $1), $2, true)", [
      user,
      uuidv7(),
    ])
    const edit = batch(conversation, conversation, [2])
    const refused = {
      ...edit,
      plan: { ...edit.plan, rows: edit.plan.rows.map((row) => ({ ...row, userId: user })) },
    }
    expect(await writeBatch(database(), refused)).toMatchObject({
      failures: [{ index: 0, code: "suppressed" }],
    })
    const delivered = [{ batch: { ...refused, transactionId: uuidv7() }, deadLetters: [] }]
    expect(await writeDeliveries(database(), delivered)).toMatchObject({
      suppressed: [{ failure: { index: 0 } }],
    })
    expect(await writeDeliveries(database(), delivered)).toMatchObject({ stored: 0 })
    expect(await stateOf(conversation)).toEqual(endOf(["said"]))
  })

  it.each([
    ["user_id", "userId", true],
    ["agent_id", "agentId", true],
    ["context_window_id", "contextWindowId", true],
    ["user_id", "userId", false],
  ] as const)(
    "of a %s that is suppressed before its statement is refused, alone: permanent %s",
    async (kind, field, permanent) => {
      for (const isDelivered of [false, true]) {
        const [one, other] = [freshConversation(), freshConversation()]
        for (const key of [one, other]) await writeBatch(database(), batch(key, key, ["said"]))
        const first = batch(one, one, [2])
        const subject = `subject ${crypto.randomUUID()}`
        const rows = [
          ...first.plan.rows.map((row) => ({ ...row, [field]: subject })),
          ...batch(other, other, [2]).plan.rows,
        ]
        const edits = {
          ...first,
          plan: { total: 2, rows: rows.map((row, index) => ({ ...row, index })), failures: [] },
        }
        let isSuppressed = false
        const db = beforeEdit(async () => {
          if (isSuppressed) return
          isSuppressed = true
          await query("insert into suppressions values ($1, subject_hash($1, $2), $3, $4)", [
            kind,
            subject,
            uuidv7(),
            permanent,
          ])
        })
        const failure = { index: 0, code: "suppressed", field: kind, retryable: false }
        if (isDelivered)
          expect(await writeDeliveries(db, [{ batch: edits, deadLetters: [] }])).toMatchObject({
            ...{ stored: 0, duplicates: 1, refused: [] },
            suppressed: [{ transactionId: edits.transactionId, failure }],
          })
        else
          expect(await writeBatch(db, edits)).toMatchObject({
            failures: [failure],
            stored: [{ index: 1 }],
            duplicates: 1,
          })
        expect(await stateOf(one)).toEqual(endOf(["said"]))
        expect(await stateOf(other)).toEqual(endOf([2]))
      }
    },
  )

  it("counts as a duplicate in the ledger, also a deletion that comes first", async () => {
    const conversation = freshConversation()
    for (const what of ["deleted", "said", 1] as const) {
      const written = await writeBatch(database(), batch(conversation, conversation, [what]))
      expect(written).toMatchObject({ state: "stored", duplicates: 1, failures: [] })
    }
  })
})

it("the service's login can change a signal only by its key", () =>
  expect(database().query(sql`update signals set raw_content = 'x' where false`)).rejects.toMatchObject({
    kind: "broken",
    reason: "42501",
  }))
