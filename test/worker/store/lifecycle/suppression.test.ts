import { uuidv7 } from "uuidv7"
import { describe, expect, it } from "vitest"
import { BatchRefused } from "../../../../src/store/batches/batch.ts"
import { writeDeliveries } from "../../../../src/store/batches/deliveries.ts"
import { writeBatch } from "../../../../src/store/batches/write.ts"
import { delivery } from "../../consumer/messages.ts"
import { countOf, freshConversation, query, TOO_LONG_FOR_POSTGRES } from "../../service.ts"
import { batchOf, database } from "../batches/batch-of.ts"

const FIELDS = ["user_id", "agent_id", "context_window_id"] as const

/** Suppresses a subject, as an erasure does. */
async function suppress(
  field: string,
  subject: string,
  more: { permanent?: boolean; erasureId?: string } = {},
) {
  await query("insert into suppressions values ($1, subject_hash($1, $2), $3, $4)", [
    field,
    subject,
    more.erasureId ?? uuidv7(),
    more.permanent ?? true,
  ])
}

const subjectOf = (field: string) => `${field} ${crypto.randomUUID()}`
const sentence = (field: string) =>
  `${field} is suppressed: it was erased on request, and its signals are refused`

describe("a suppressed subject", () => {
  it.each(FIELDS)("is refused by its %s, and the other signals of its batch are stored", async (field) => {
    const subject = subjectOf(field)
    await suppress(field, subject)
    const conversation = freshConversation()
    const other = { context_window_id: conversation, user_id: "other", agent_id: "other" }
    const written = await writeBatch(database(), batchOf([other, { ...other, [field]: subject }, other]))
    expect(written.failures).toEqual([
      { index: 1, error: sentence(field), code: "suppressed", field, retryable: false },
    ])
    expect(written.stored.map(({ index }) => index)).toEqual([0, 2])
    expect(await query(`select count(*)::int4 as count from signals where ${field} = $1`, [subject])).toEqual(
      [{ count: 0 }],
    )
    expect(await countOf(conversation)).toBe(2)
    const [ledger] = await query(
      "select total_count, failed_count, failures from batches where transaction_id = $1",
      [written.transactionId],
    )
    expect(ledger).toEqual({ total_count: 3, failed_count: 1, failures: written.failures })
  })

  it("is refused in a batch that the database stores row by row", async () => {
    const subject = subjectOf("user_id")
    await suppress("user_id", subject)
    const conversation = freshConversation()
    const signals = [
      { context_window_id: conversation, user_id: subject },
      { context_window_id: conversation, payload: { number: JSON.rawJSON(TOO_LONG_FOR_POSTGRES) } },
      { context_window_id: conversation },
    ]
    const batch = batchOf([])
    const { rows } = batchOf(signals.map(({ payload: _, ...signal }) => signal)).plan
    const plan = {
      total: 3,
      failures: [],
      rows: rows.map((row) =>
        row.index === 1 ? { ...row, payload: `{"number":${TOO_LONG_FOR_POSTGRES}}` } : row,
      ),
    }
    const { failures, stored } = await writeBatch(database(), { ...batch, plan })
    expect(failures.map(({ index, code }) => [index, code])).toEqual([
      [0, "suppressed"],
      [1, "refused_by_database"],
    ])
    expect(stored.map(({ index }) => index)).toEqual([2])
    expect(await countOf(conversation)).toBe(1)
  })

  it("fails a whole batch that is all or nothing", async () => {
    const subject = subjectOf("user_id")
    await suppress("user_id", subject)
    const conversation = freshConversation()
    const signals = [
      { context_window_id: conversation },
      { context_window_id: conversation, user_id: subject },
    ]
    const written = writeBatch(database(), batchOf(signals, { allOrNothing: true }))
    await expect(written).rejects.toThrow(BatchRefused)
    await expect(written).rejects.toMatchObject({ failures: [{ index: 1, code: "suppressed" }] })
    expect(await countOf(conversation)).toBe(0)
  })

  it("is left out of earlier acknowledged deliveries, without a dead letter, on every path", async () => {
    const subject = subjectOf("user_id")
    await suppress("user_id", subject)
    for (const number of ["1", TOO_LONG_FOR_POSTGRES]) {
      const conversation = freshConversation()
      const one = delivery([
        { context_window_id: conversation, user_id: subject },
        { context_window_id: conversation },
      ])
      const two = delivery([{ context_window_id: conversation }])
      for (const row of two.batch.plan.rows) row.payload = `{"number":${number}}`
      const { stored, suppressed } = await writeDeliveries(database(), [one, two])
      expect(stored).toBe(number === "1" ? 2 : 1)
      expect(suppressed).toMatchObject([
        {
          transactionId: one.batch.transactionId,
          failure: { index: 0, error: sentence("user_id"), code: "suppressed" },
        },
      ])
      expect(
        await query("select from dead_letters where transaction_id = $1", [one.batch.transactionId]),
      ).toEqual([])
    }
  })

  it("of an erasure without suppression is refused where it was accepted before the erasure, and not afterwards", async () => {
    const subject = subjectOf("user_id")
    const conversation = freshConversation()
    const before = batchOf([{ context_window_id: conversation, user_id: subject }])
    await suppress("user_id", subject, { permanent: false, erasureId: uuidv7() })
    expect((await writeBatch(database(), before)).failures).toMatchObject([{ code: "suppressed" }])
    const after = batchOf([{ context_window_id: conversation, user_id: subject }])
    expect((await writeBatch(database(), after)).failures).toEqual([])
  })

  it("is matched exactly: a longer text, another case and another field are stored", async () => {
    const subject = subjectOf("user_id")
    await suppress("user_id", subject)
    const others = [{ user_id: `${subject} ` }, { user_id: subject.toUpperCase() }, { agent_id: subject }]
    const signals = others.map((other) => ({ context_window_id: freshConversation(), ...other }))
    expect((await writeBatch(database(), batchOf(signals))).failures).toEqual([])
  })

  it("gets the first answer when its batch was stored before, under the same transaction id and the same key", async () => {
    const subject = subjectOf("agent_id")
    const idempotency = { key: crypto.randomUUID(), requestHash: "best-effort:1" }
    for (const allOrNothing of [false, true]) {
      const key = { ...idempotency, key: `${idempotency.key}${allOrNothing}` }
      const signals = [
        {
          context_window_id: freshConversation(),
          agent_id: `${subject}${allOrNothing}`,
          dedupe_key: `${key.key}`,
        },
      ]
      const batch = batchOf(signals, { idempotency: key, allOrNothing })
      const first = await writeBatch(database(), batch)
      await suppress("agent_id", `${subject}${allOrNothing}`)
      expect((await writeBatch(database(), batch)).stored).toEqual(first.stored)
      const again = await writeBatch(database(), { ...batch, transactionId: uuidv7() })
      expect([again.replayed, again.stored]).toEqual([true, first.stored])
    }
  })
})
