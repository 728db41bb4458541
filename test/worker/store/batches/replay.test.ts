import { describe, expect, it } from "vitest"
import type { NewBatch } from "../../../../src/store/batches/batch.ts"
import { writeBatch } from "../../../../src/store/batches/write.ts"
import { freshConversation, query } from "../../service.ts"
import { batchOf, database } from "./batch-of.ts"

const key = () => `key-${crypto.randomUUID()}`

/** The ids of a batch, or of its replay: the same request under another transaction id. */
const idsOf = async (batch: NewBatch) =>
  (await writeBatch(database(), batch)).stored.map(({ index, id, duplicate }) => [index, id, duplicate])

const again = (batch: NewBatch): NewBatch => ({ ...batch, transactionId: batchOf([]).transactionId })

function keyedBatch(...signals: Parameters<typeof batchOf>[0]): NewBatch {
  return batchOf(signals, { idempotency: { key: key(), requestHash: "best-effort:00" } })
}

describe("a replay", () => {
  it("returns every signal's own id after one of them was deleted", async () => {
    const context_window_id = freshConversation()
    const batch = keyedBatch(
      { context_window_id },
      { context_window_id, dedupe_key: key() },
      { context_window_id },
    )
    const first = await idsOf(batch)
    await query("delete from signals where id = any($1::int8[])", [first.slice(0, 2).map(([, id]) => id)])
    expect(await idsOf(again(batch))).toEqual(first)
  })

  it("gives a duplicate its holder's id, and the others their own", async () => {
    const context_window_id = freshConversation()
    const dedupe_key = key()
    const [[, holder]] = (await idsOf(batchOf([{ context_window_id, dedupe_key }]))) as [[number, number]]
    const batch = keyedBatch(
      { context_window_id },
      { context_window_id, dedupe_key },
      { context_window_id, dedupe_key: key() },
    )
    const first = await idsOf(batch)
    expect(first[1]).toEqual([1, holder, true])
    expect(await idsOf(again(batch))).toEqual(first)
  })

  it("keeps each id at its index when the rules of a deployment refuse one signal more, or one less", async () => {
    const context_window_id = freshConversation()
    const batch = keyedBatch(
      { context_window_id },
      { context_window_id, signal_score: 7 },
      { context_window_id },
      { context_window_id },
    )
    const first = await idsOf(batch)
    expect(first.map(([index]) => index)).toEqual([0, 2, 3])
    const { rows, ...plan } = batch.plan
    const [one] = rows
    if (!one) throw new Error("the plan has no row")
    expect(await idsOf(again({ ...batch, plan: { ...plan, rows: rows.slice(1) } }))).toEqual(first)
    expect(
      await idsOf(again({ ...batch, plan: { ...plan, rows: [...rows, { ...one, index: 1 }] } })),
    ).toEqual(first)
  })

  it("gives the same ids for a batch of which the database refused signals", async () => {
    const context_window_id = freshConversation()
    const dedupe_key = key()
    await idsOf(batchOf([{ context_window_id, dedupe_key }]))
    const batch = keyedBatch(
      { context_window_id },
      { context_window_id },
      { context_window_id, dedupe_key },
      { context_window_id, dedupe_key: key() },
      { context_window_id },
    )
    const { rows } = batch.plan
    // No rule lets such a value through: only the database refuses it.
    if (rows[1]) rows[1].signalScore = 7
    const first = await idsOf(batch)
    expect(first.map(([index, , duplicate]) => [index, duplicate])).toEqual([
      [0, false],
      [2, true],
      [3, false],
      [4, false],
    ])
    const own = first.filter(([, , duplicate]) => !duplicate).map(([, id]) => Number(id))
    expect(own).toEqual([...own].sort((a, b) => a - b))
    await query("delete from signals where id = $1::int8", [own[0]])
    expect(await idsOf(again(batch))).toEqual(first)
  })

  it("gives the ids on both sides of a duplicate in a batch of which the database refused another signal", async () => {
    const context_window_id = freshConversation()
    const dedupe_key = key()
    await idsOf(batchOf([{ context_window_id, dedupe_key }]))
    const batch = keyedBatch(
      { context_window_id },
      { context_window_id, dedupe_key },
      { context_window_id },
      { context_window_id },
      { context_window_id },
    )
    const { rows } = batch.plan
    if (rows[4]) rows[4].signalScore = 7
    const first = await idsOf(batch)
    expect(first.map(([, , duplicate]) => duplicate)).toEqual([false, true, false, false])
    expect(await idsOf(again(batch))).toEqual(first)
  })
})

describe("the ids that the ledger keeps", () => {
  it("are one range for consecutive ids, and one more for each gap", async () => {
    const context_window_id = freshConversation()
    const batch = batchOf(Array.from({ length: 500 }, () => ({ context_window_id })))
    const ids = (await idsOf(batch)).map(([, id]) => Number(id))
    const [row] = await query<{ signal_ids: string }>(
      "select signal_ids from batches where transaction_id = $1::uuid",
      [batch.transactionId],
    )
    // Other tests may take ids from the same sequence meanwhile, which makes a gap.
    const gaps = ids.filter((id, index) => index > 0 && id !== (ids[index - 1] ?? 0) + 1).length
    expect(row?.signal_ids.split(",").length).toBe(gaps + 1)
    expect(row?.signal_ids).toMatch(new RegExp(`^${ids[0]}:`))
  })
})
